"""A trained model on a data set it has not seen: figures with intervals, tables, pictures."""

from typing import TYPE_CHECKING, Any

from medmamba.evaluation.comparing import compare, find_models
from medmamba.evaluation.scoring import evaluate

if TYPE_CHECKING:
    from medmamba.evaluation.cost import complexity as complexity

__all__ = ["compare", "complexity", "evaluate", "find_models"]


def __getattr__(name: str) -> Any:
    if name == "complexity":  # it imports torch, which the evaluation of an exported file does without
        from medmamba.evaluation.cost import complexity

        return complexity
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
