"""Figure 3: typical images of the data sets, a row a set, its classes named."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medmamba.data import Dataset, open_data
from medmamba.data.catalogue import CATALOGUE
from medmamba.drawing import new_figure, png, readable
from medmamba.errors import InputError
from medmamba.paper.figures.inputs import SOFT, Inputs, check_out, finish, footer, of_class, substitutes
from medmamba.paper.sets import OWN, SOURCES, Source, check_folder, find, stand_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = 6  # in a row, a share for each class; more where there are more classes
SIDE, BETWEEN, TITLE = 1.25, 0.28, 1.9  # inches


@dataclass(frozen=True, eq=False)
class _Row:
    """One set: its images (h, w) or (h, w, 3), their classes and names."""

    source: Source
    data: Dataset
    images: list[np.ndarray]
    classes: list[str]
    names: list[str]


def draw(inputs: Inputs) -> dict[str, Any]:
    """Draw images of every set of the paper, and of every substitute, that lies in the data folder.

    Returns:
        What `figure3.json` holds: `panels`, one a set that is there, with the images drawn; `absent`, the paper's sets
        that are not there, by title; `notes`.

    Raises:
        InputError: None of the sets is there, or one cannot be read.
    """
    check_out(inputs)
    check_folder(inputs.data)
    places = {name: find(inputs.data, name) for name in SOURCES}
    rows = [_row(SOURCES[name], place, inputs.seed) for name, place in places.items() if place is not None]
    if not rows:
        raise InputError(f"{inputs.data} holds none of {', '.join(SOURCES)}; name the folder that holds the data sets")
    absent = [SOURCES[name].title for name in OWN if places[name] is None]
    notes = substitutes([row.source for row in rows])
    notes += [f"{note}." for row in rows if row.source.name in OWN for note in row.data.notes]
    if absent:
        notes.append(f"Absent, so not drawn: {', '.join(absent)}.")
    notes.append("Images are drawn by chance from the training split, not chosen for how they look.")
    report = {"title": "Typical samples", "panels": [_about(row) for row in rows], "absent": absent, "notes": notes}
    return finish(inputs, "figure3", _picture(rows, notes), report)


def _row(source: Source, place: Path, seed: int) -> _Row:
    data = open_data(place)
    images = data.split("train")
    generator = np.random.default_rng((seed, zlib.crc32(source.name.encode())))
    each = max(1, IMAGES // len(data.classes))
    chosen = []
    for k in range(len(data.classes)):
        members = np.flatnonzero(images.targets == k)
        chosen += sorted(generator.permutation(members)[:each].tolist())
    pixels = [images.read(index, tell=False) for index in chosen]
    classes = [data.classes[images.targets[index]] for index in chosen]
    return _Row(source, data, pixels, classes, [images.names[index] for index in chosen])


def _about(row: _Row) -> dict[str, Any]:
    return {
        "set": row.source.name,
        "title": row.source.title,
        "data": row.data.name,
        "of_the_paper": row.source.name in OWN,
        "stands_for": [CATALOGUE[name].title for name in row.source.stands_for],
        "classes": list(row.data.classes),
        "images": [
            {"name": name, "class": label, "height": pixels.shape[0], "width": pixels.shape[1]}
            for name, label, pixels in zip(row.names, row.classes, row.images, strict=True)
        ],
        "notes": list(row.data.notes),
    }


def _picture(rows: list[_Row], notes: list[str]) -> bytes:
    columns = max(len(row.images) for row in rows)
    width, height = TITLE + columns * SIDE, len(rows) * (SIDE + BETWEEN)
    figure = new_figure(width, height)
    for line, row in enumerate(rows):
        bottom = height - (line + 1) * (SIDE + BETWEEN)
        for column, pixels in enumerate(row.images):
            place = (TITLE + column * SIDE, bottom + 0.08, SIDE - 0.08, SIDE - 0.08)
            axes = figure.add_axes(tuple(np.divide(place, (width, height, width, height))))
            _image(axes, pixels)
            if column == 0 or row.classes[column - 1] != row.classes[column]:
                words = readable(of_class(row.classes[column]))
                axes.text(0, 1.03, words, transform=axes.transAxes, va="bottom", fontsize="small")
        sizes = sorted({pixels.shape[0] for pixels in row.images})
        heights = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        middle = (bottom + SIDE / 2) / height
        figure.text(0, middle, row.source.title, va="bottom", fontsize="medium", fontweight="bold")
        figure.text(0, middle, _below(row, heights), va="top", fontsize="x-small", color=SOFT, linespacing=1.3)
    footer(figure, notes, width=width, y=-0.01)
    return png(figure)


def _below(row: _Row, heights: str) -> str:
    kind = stand_in(row.source, *row.source.stands_for).replace(" and ", "\nand ")
    kind = kind or ("" if row.source.name in OWN else "none of the paper's sets")
    return "\n".join(part for part in (kind, f"{heights} pixels high") if part)


def _image(axes: Axes, pixels: np.ndarray) -> None:
    """A picture as it is, whole: grey in grey, small ones with their pixels to be seen."""
    axes.imshow(
        pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if pixels.shape[0] < 64 else "antialiased"
    )
    axes.set_axis_off()
    axes.set_anchor("NW")
