"""Figures 3 to 7 of the paper, drawn from data and runs of our own. Nothing is loaded before it is used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from medmamba.paper.figures.inputs import Inputs

__all__ = ["FIGURES", "Inputs"]


def _later(module: str) -> Callable[[Inputs], dict[str, Any]]:
    """The function `draw` of a module of this folder, which is imported when it is called."""

    def draw(inputs: Inputs) -> dict[str, Any]:
        drawn: dict[str, Any] = import_module(f"{__name__}.{module}").draw(inputs)
        return drawn

    return draw


# each writes NAME.png and NAME.json, the numbers drawn, into the folder of its inputs, and gives what the JSON holds
FIGURES: dict[str, Callable[[Inputs], dict[str, Any]]] = {
    "figure3": _later("samples"),
    "figure4": _later("trade_off"),
    "figure5": _later("heat_maps"),
    "figure6": _later("arrangements"),
    "figure7": _later("stress"),
}
