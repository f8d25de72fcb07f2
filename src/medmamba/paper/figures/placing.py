"""Labels beside bubbles, so that none lies on another or on a bubble."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAR, FAR, RINGS, DIRECTIONS = (
    3.0,
    60.0,
    12,
    24,
)  # points from a bubble's rim; how many distances and directions are tried
LINE = 10.0  # points from a rim from which on a line leads to the label
CLEAR = 3.0  # pixels that the own bubble must be nearer than any other, or a line leads to the label
UNCLEAR = 12.0  # points of distance that such a line is worth
SIZE = "x-small"

Box = tuple[float, float, float, float]  # left, bottom, right, top


def place_labels(
    axes: Axes, x: Sequence[float], y: Sequence[float], radii: Sequence[float], labels: Sequence[str]
) -> None:
    """Write a label beside each bubble, where it covers the least; limits and size of `axes` must be final.

    Args:
        axes: Where to write.
        x: Middles, in data units.
        y: The same.
        radii: Of the bubbles, in points.
        labels: One for each.
    """
    figure = axes.figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    scale = figure.dpi / 72
    middles = axes.transData.transform(np.column_stack([x, y]))
    inside = axes.get_window_extent(renderer)
    frame = (inside.x0, inside.y0, inside.x1, inside.y1)
    rims = [radius * scale for radius in radii]
    taken: list[Box] = []
    for index in np.argsort(middles[:, 1], kind="stable")[::-1]:
        words = axes.annotate(labels[index], (x[index], y[index]), fontsize=SIZE, annotation_clip=False)
        extent = words.get_window_extent(renderer)
        words.remove()
        best = min(
            _candidates(middles[index], rims[index], (extent.width, extent.height), scale),
            key=lambda tried: (
                tried[0]
                + _cost(tried[1], frame, middles, rims, taken)
                + UNCLEAR * scale * _is_unclear(tried[1], index, middles, rims)
            ),
        )
        taken.append(best[1])
        far = _distances(best[1], middles, rims)[index] > LINE * scale
        line = far or _is_unclear(best[1], index, middles, rims)
        _write(axes, labels[index], (x[index], y[index]), middles[index], best[1], radii[index] if line else None)


def _candidates(middle: np.ndarray, radius: float, size: tuple[float, float], scale: float) -> list[tuple[float, Box]]:
    """Boxes around a bubble, each with a small penalty for its distance; straight to the right is the best."""
    found = []
    for ring in np.linspace(NEAR, FAR, RINGS) * scale:
        for angle in np.linspace(0, 2 * math.pi, DIRECTIONS, endpoint=False):
            direction = np.array([math.cos(angle), math.sin(angle)])
            # the box's own half size in that direction, so that its nearest side keeps the distance
            half = np.array(size) / 2
            place = (
                middle + direction * (radius + ring) + np.sign(np.round(direction, 6)) * half * np.abs(direction) ** 0.5
            )
            box = (place[0] - half[0], place[1] - half[1], place[0] + half[0], place[1] + half[1])
            found.append((ring + 2 * scale * (1 - direction[0]), box))
    return found


def _cost(box: Box, frame: Box, middles: np.ndarray, rims: Sequence[float], taken: Sequence[Box]) -> float:
    """What a box covers, in square pixels, other labels and what is outside counting most."""
    outside = (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, frame)
    around = [(x - rim, y - rim, x + rim, y + rim) for (x, y), rim in zip(middles, rims, strict=True)]
    return 20 * outside + 20 * sum(_overlap(box, o) for o in taken) + 5 * sum(_overlap(box, o) for o in around)


def _distances(box: Box, middles: np.ndarray, rims: Sequence[float]) -> np.ndarray:
    """From a box to the rim of each bubble, in pixels; less than 0 inside."""
    nearest = np.clip(middles, (box[0], box[1]), (box[2], box[3]))
    return np.linalg.norm(nearest - middles, axis=1) - np.asarray(rims)


def _is_unclear(box: Box, own: int, middles: np.ndarray, rims: Sequence[float]) -> bool:
    """Whether another bubble is as near to the label as its own."""
    distances = _distances(box, middles, rims)
    return bool((np.delete(distances, own) < distances[own] + CLEAR).any())


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _write(
    axes: Axes, words: str, point: tuple[float, float], middle: np.ndarray, box: Box, radius: float | None
) -> None:
    """The label in its box, with a line to its bubble where a radius is given."""
    offset = tuple((np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]) - middle) * 72 / axes.figure.dpi)
    look: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": SIZE}
    look["bbox"] = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7}
    if radius is not None:
        look["arrowprops"] = {"arrowstyle": "-", "color": "#666666", "linewidth": 0.6, "shrinkA": 0, "shrinkB": radius}
    axes.annotate(words, point, xytext=offset, zorder=5, **look)
