"""The picture of an embedding: a panel a model, the same colours everywhere, and the figures above each."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medmamba.drawing import COLOURS, new_figure, png, readable, with_n
from medmamba.metrics.wording import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "o^sDvPX*<>"  # one for every seven classes, so that no two of the first seventy look alike
PANEL = 4.0  # inches
MOST_BESIDE = 3  # panels in one row
MOST_LINES = 18  # of a column of the legend


@dataclass(frozen=True, eq=False)
class Panel:
    """One model's picture.

    Attributes:
        title: Its name.
        points: (n, 2).
        figures: From `separation`.
    """

    title: str
    points: np.ndarray
    figures: dict[str, Any]


def draw(panels: Sequence[Panel], classes: np.ndarray, names: Sequence[str], footer: str, *, seed: int = 0) -> bytes:
    """PNG of one or several embeddings of the same images.

    Args:
        panels: One for each model.
        classes: Class of each image, (n,).
        names: Of the classes; those without an image are left out of the legend.
        footer: What a reader must know, in sentences.
        seed: Decides which points lie on top, so that it is no class.
    """
    rows = math.ceil(len(panels) / MOST_BESIDE)
    beside = math.ceil(len(panels) / rows)
    figure = new_figure(PANEL * beside, (PANEL + 0.5) * rows)
    axes = [figure.add_subplot(rows, beside, i + 1) for i in range(len(panels))]
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.06, hspace=0.2)
    for panel, place in zip(panels, axes, strict=True):
        draw_panel(place, panel, classes, seed=seed)
    draw_legend(axes[beside - 1], classes, names)
    text = textwrap.fill(footer, int(20 * PANEL * beside)).replace("$", r"\$")
    axes[beside * (rows - 1)].text(
        0, -0.03, text, transform=axes[beside * (rows - 1)].transAxes, va="top", fontsize="x-small", color="#555555"
    )
    return png(figure)


def draw_panel(axes: Axes, panel: Panel, classes: np.ndarray, *, seed: int) -> None:
    """One model's picture in `axes`, its name and figures above; class k has the same colour everywhere."""
    order = np.random.default_rng(seed).permutation(len(classes))
    _points(axes, panel.points[order], classes[order])
    axes.set_title(_title(panel), fontsize="medium", loc="left")


def draw_legend(axes: Axes, classes: np.ndarray, names: Sequence[str]) -> None:
    """The classes that have images, to the right of `axes`."""
    counts = np.bincount(classes, minlength=len(names))
    shown = [k for k in range(len(names)) if counts[k]]
    axes.legend(
        handles=[_sign(k, with_n(readable(names[k]), counts[k])) for k in shown],
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        borderaxespad=0,
        frameon=False,
        fontsize="small",
        ncols=math.ceil(len(shown) / MOST_LINES),
        handletextpad=0.2,
    )


def _title(panel: Panel) -> str:
    silhouette, neighbours = panel.figures["silhouette"]["value"], panel.figures["neighbours"]
    first = "not computable" if silhouette is None else f"{silhouette:.2f}"
    numbers = f"silhouette {first}\n{neighbours['k']}-NN accuracy {in_words(neighbours)}"
    return f"{readable(panel.title)}\n{numbers}"


def _points(axes: Axes, points: np.ndarray, classes: np.ndarray) -> None:
    side = np.clip(6000 / len(points), 8, 40)  # points squared
    colours = np.array(COLOURS)[classes % len(COLOURS)]
    for which in np.unique(classes // len(COLOURS)):
        here = classes // len(COLOURS) == which
        x, y = points[here].T
        look: dict[str, Any] = {"marker": _marker(which), "alpha": 0.85, "linewidths": 0.3, "edgecolors": "w"}
        axes.scatter(x, y, s=side, c=colours[here], **look)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.04)
    axes.set_box_aspect(1)
    axes.spines[:].set_color("#BBBBBB")


def _sign(k: int, label: str) -> Any:
    from matplotlib.lines import Line2D

    marker = _marker(k // len(COLOURS))
    return Line2D([], [], linestyle="", marker=marker, color=COLOURS[k % len(COLOURS)], label=label)


def _marker(which: int) -> str:
    return MARKERS[which % len(MARKERS)]
