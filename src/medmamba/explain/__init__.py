"""Where a trained model looks: heat maps; and what it sees: its features. Nothing is loaded before it is used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medmamba.explain.checks import check_heat_maps as check_heat_maps
    from medmamba.explain.run import heat_maps as heat_maps

_HOMES = {"check_heat_maps": "medmamba.explain.checks", "heat_maps": "medmamba.explain.run"}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
