"""Curves as SVG within the page, in the page's own colours, so that they follow its light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from medmamba.page import text

COLOURS = 7  # variables --c0 to --c6 of the page's style
DASHES = ("", "7 4", "2 3", "9 3 2 3")
THIN = 400  # points of a line, of which more could not be seen

Point = Sequence[float]


@dataclass(frozen=True)
class Line:
    """What is drawn: a line of points, with a band, marks or bars.

    Attributes:
        points: (x, y, ...).
        name: What the legend calls it; empty for none.
        colour: Index of a colour, or None for grey.
        band: (x, low, high).
        bars: (x, low, high), upright.
        marks: Whether each point has a mark.
        joined: Whether a line leads through them.
        stepped: Whether it goes up or down first, then along, from x = 0 on: a precision-recall curve.
    """

    points: Sequence[Point]
    name: str = ""
    colour: int | None = 0
    band: Sequence[Point] = ()
    bars: Sequence[Point] = ()
    marks: bool = False
    joined: bool = True
    stepped: bool = False


@dataclass(frozen=True)
class Frame:
    """Where it is drawn: axes from 0 to `right` and from 0 to `top`, in the units of the points."""

    width: int = 340
    height: int = 320
    x: str = ""
    y: str = ""
    right: float = 1.0
    top: float = 1.0
    x_ticks: Sequence[float] = (0, 0.2, 0.4, 0.6, 0.8, 1)
    y_ticks: Sequence[float] = (0, 0.2, 0.4, 0.6, 0.8, 1)
    diagonal: bool = False

    def place(self, x: float, y: float) -> str:
        """A point in the picture, `left,top`."""
        left, below = self._left, self._below
        across, up = self.width - left - 12, self.height - below - 10
        return f"{left + across * x / self.right:.1f},{10 + up * (1 - y / self.top):.1f}"

    @property
    def _left(self) -> int:
        return 52 if self.y else 34

    @property
    def _below(self) -> int:
        return 44 if self.x else 24


def chart(title: str, lines: Sequence[Line], frame: Frame) -> str:
    """The picture; `title` is read to those who cannot see it."""
    parts = [_axes(frame)]
    if frame.diagonal:
        parts.append(f'<path class="chance" d="M{frame.place(0, 0)} L{frame.place(frame.right, frame.top)}"/>')
    parts += [_area(line, frame) for line in lines if line.band]
    parts += [_line(line, frame) for line in lines]
    size = f'viewBox="0 0 {frame.width} {frame.height}" style="max-width:{frame.width}px"'
    return f'<svg role="img" aria-label="{text(title)}" {size}>{"".join(parts)}</svg>'


def bars(title: str, heights: Sequence[Point], frame: Frame) -> str:
    """Upright bars of (x, height)."""
    marks = "".join(f'<path class="bar" d="M{frame.place(x, 0)} L{frame.place(x, height)}"/>' for x, height in heights)
    size = f'viewBox="0 0 {frame.width} {frame.height}" style="max-width:{frame.width}px"'
    return f'<svg role="img" aria-label="{text(title)}" {size}>{_axes(frame)}{marks}</svg>'


def legend(lines: Sequence[Line]) -> str:
    """The named lines with how they are drawn."""
    rows = "".join(
        f'<li><svg viewBox="0 0 26 8" class="key"><path {_look(line)} d="M0,4 L26,4"/></svg> {text(line.name)}</li>'
        for line in lines
        if line.name
    )
    return f'<ul class="legend">{rows}</ul>' if rows else ""


def _axes(frame: Frame) -> str:
    parts = []
    for x in frame.x_ticks:
        left, top = frame.place(x, 0).split(",")
        parts.append(f'<text x="{left}" y="{float(top) + 15:.1f}" text-anchor="middle">{x:g}</text>')
    for y in frame.y_ticks:
        left, top = frame.place(0, y).split(",")
        parts.append(f'<path class="grid" d="M{left},{top} L{frame.place(frame.right, y)}"/>')
        parts.append(f'<text x="{float(left) - 6:.1f}" y="{float(top) + 4:.1f}" text-anchor="end">{y:g}</text>')
    middle_x, base = frame.place(frame.right / 2, 0).split(",")
    if frame.x:
        parts.append(f'<text x="{middle_x}" y="{float(base) + 34:.1f}" text-anchor="middle">{text(frame.x)}</text>')
    if frame.y:
        middle = frame.place(0, frame.top / 2).split(",")[1]
        turned = f'transform="translate(13 {middle}) rotate(-90)" text-anchor="middle"'
        parts.append(f"<text {turned}>{text(frame.y)}</text>")
    return "".join(parts)


def _area(line: Line, frame: Frame) -> str:
    there = [frame.place(x, high) for x, _, high in line.band]
    back = [frame.place(x, low) for x, low, _ in reversed(line.band)]
    return f'<path class="band" style="fill:{_colour(line)}" d="M{" L".join([*there, *back])} Z"/>'


def _line(line: Line, frame: Frame) -> str:
    points = [(point[0], point[1]) for point in line.points]
    if len(points) > THIN:
        points = [points[round(k * (len(points) - 1) / (THIN - 1))] for k in range(THIN)]
    parts = [
        f'<path class="whisker" style="stroke:{_colour(line)}" d="M{frame.place(x, low)} L{frame.place(x, high)}"/>'
        for x, low, high in line.bars
    ]
    if line.joined and points:
        way = points
        if line.stepped:
            way = [(0, points[0][1]), points[0]]
            for (x, _), (to_x, to_y) in pairwise(points):
                way += [(x, to_y), (to_x, to_y)]
        parts.append(f'<path {_look(line)} d="M{" L".join(frame.place(*point) for point in way)}"/>')
    if line.marks:
        for point in points:
            left, top = frame.place(*point).split(",")
            parts.append(f'<circle cx="{left}" cy="{top}" r="3" style="fill:{_colour(line)}"/>')
    return "".join(parts)


def _look(line: Line) -> str:
    k = line.colour
    dash = "" if k is None else DASHES[k % len(DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'class="line" style="stroke:{_colour(line)}"{dashed}'


def _colour(line: Line) -> str:
    return "var(--grey)" if line.colour is None else f"var(--c{line.colour % COLOURS})"
