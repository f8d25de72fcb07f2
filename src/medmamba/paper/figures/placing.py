"""Labels beside bubbles, so that none lies on another or on a bubble."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    bubbles = [_around(middle, radius * scale) for middle, radius in zip(middles, radii, strict=True)]
    taken: list[Box] = []
    for index in np.argsort(middles[:, 1], kind="stable")[::-1]:
        words = axes.annotate(labels[index], (x[index], y[index]), fontsize="x-small", annotation_clip=False)
        extent = words.get_window_extent(renderer)
        words.remove()
        best = min(
            _candidates(middles[index], radii[index] * scale, (extent.width, extent.height), scale),
            key=lambda tried: tried[0] + _cost(tried[1], frame, bubbles, taken),
        )
        taken.append(best[1])
        _write(axes, labels[index], (x[index], y[index]), middles[index], radii[index], best[1], scale)


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


def _cost(box: Box, frame: Box, bubbles: Sequence[Box], taken: Sequence[Box]) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    outside = area - _overlap(box, frame)
    return 20 * outside + 20 * sum(_overlap(box, other) for other in taken) + 5 * sum(_overlap(box, o) for o in bubbles)


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _around(middle: np.ndarray, radius: float) -> Box:
    return (middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius)


def _write(
    axes: Axes, words: str, point: tuple[float, float], middle: np.ndarray, radius: float, box: Box, scale: float
) -> None:
    """The label in its box, with a line to its bubble where it is far."""
    place = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    nearest = np.clip(middle, (box[0], box[1]), (box[2], box[3]))
    far = np.linalg.norm(nearest - middle) > (radius + LINE) * scale
    line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.5, "shrinkA": 0, "shrinkB": radius} if far else None
    offset = tuple((place - middle) / scale)
    look = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": "x-small", "zorder": 5}
    axes.annotate(words, point, xytext=offset, arrowprops=line, **look)  # type: ignore[arg-type]
