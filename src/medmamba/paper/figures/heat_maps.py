"""Figure 5: where a MedMamba looks: pictures, heat maps and both laid over each other, a block a set."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medmamba.drawing import new_figure, png, readable
from medmamba.explain.maps import HeatMapper, merge, network_of
from medmamba.explain.methods import METHODS
from medmamba.explain.pictures import COLOURS, overlay
from medmamba.explain.run import EMPTY, predicted
from medmamba.paper.figures.inputs import (
    SOFT,
    Inputs,
    about_bundle,
    check_out,
    finish,
    footer,
    of_class,
    say,
    substitutes,
)
from medmamba.paper.figures.trained import NO_MEDMAMBA, Place, first_like, places
from medmamba.paper.networks import of_bundle
from medmamba.paper.sets import OWN
from medmamba.predictor import load
from medmamba.predictor.opening import open_split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETS = ("busi", "breastmnist", "pneumoniamnist", "retinamnist", "bccd", "isic2017")
OF_THE_PAPER = "medmamba_small"
SHOWN = 3  # classes of a set, an image each
BESIDE = 3  # blocks in one line
SIDE, GAP, HEAD = 1.1, 0.06, 0.8  # inches: a picture, between two, above a block
ROWS = ("original", "heat map", "overlay")


@dataclass(frozen=True, eq=False)
class _Shown:
    """One image: pixels (h, w) or (h, w, 3), its map (h, w) in [0, 1], and what is said of it."""

    image: np.ndarray
    heat: np.ndarray
    entry: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Block:
    place: Place
    why_empty: str | None
    about: dict[str, Any] | None
    shown: list[_Shown]


def draw(inputs: Inputs) -> dict[str, Any]:
    """Draw heat maps, by the network's own default method and layers, of test images for the class that is predicted.

    Returns:
        What `figure5.json` holds: `panels`, one a set, each with its model and images (name, class, predicted class and
        its probability, whether the map is empty, the map's mean and the place of its greatest value), or `why_empty`;
        and `notes`.

    Raises:
        InputError: No trained model was given, one does not fit its data, or a package is missing.
    """
    check_out(inputs)
    wanted = places(inputs, SETS, tuple(OWN))
    blocks = []
    for done, place in enumerate(wanted):
        blocks.append(_block(inputs, place))
        inputs.tell("heat maps")(done + 1, len(wanted))
    notes = _notes(blocks)
    report = {"title": "Heat maps of MedMamba", "panels": [_entry(block) for block in blocks], "notes": notes}
    return finish(inputs, "figure5", _picture(blocks, notes), report)


def _block(inputs: Inputs, place: Place) -> _Block:
    index = first_like(place, (OF_THE_PAPER, None), ("medmamba_", None))
    if place.why_empty or index is None or place.data is None:
        return _Block(place, place.why_empty or NO_MEDMAMBA, None, [])
    classifier = load(place.folders[index], device=inputs.device)
    bundle = classifier.bundle
    images = open_split(place.data, "test", [bundle]).images
    mapper = HeatMapper(bundle, network_of(classifier))
    about = about_bundle(bundle) | {"method": mapper.method, "layers": list(mapper.layers)}
    generator = np.random.default_rng((inputs.seed, zlib.crc32(place.source.name.encode())))
    shown = []
    for k in _spread(np.unique(images.targets)):
        row = int(generator.choice(np.flatnonzero(images.targets == k)))
        image = images.read(row, bundle.preprocessing.reading, tell=False)
        pixels = bundle.preprocessing.pixels(image)[None]
        scores = classifier.probabilities(pixels)
        answer = int(predicted(bundle, scores)[0])
        raw = mapper.raw(pixels, np.array([answer]))
        heat = merge(
            [layer[0] for layer in raw], mapper.size, bundle.preprocessing.box(*image.shape[:2]), image.shape[:2]
        )
        entry = {
            "name": images.names[row],
            "class": bundle.classes[k],
            "predicted": bundle.classes[answer],
            "probability": float(scores[0, answer]),
            "empty": not heat.any(),
            "mean": float(heat.mean()),
            "most_at": [int(place) for place in np.unravel_index(heat.argmax(), heat.shape)],
        }
        shown.append(_Shown(image, heat, entry))
    return _Block(place, None, about, shown)


def _spread(classes: np.ndarray) -> list[int]:
    """At most three of the classes, evenly apart."""
    places = np.linspace(0, len(classes) - 1, min(SHOWN, len(classes))).round().astype(int)
    return [int(classes[place]) for place in places]


def _entry(block: _Block) -> dict[str, Any]:
    source = block.place.source
    known = {"set": source.name, "title": source.title, "why_empty": block.why_empty, "model": block.about}
    return known | {"images": [shown.entry for shown in block.shown]}


def _notes(blocks: list[_Block]) -> list[str]:
    models = dict.fromkeys(of_bundle(block.about) for block in blocks if block.about is not None)
    methods = dict.fromkeys(METHODS[block.about["method"]].made_by for block in blocks if block.about is not None)
    notes = [f"Models: {', '.join(models)}, by {' and '.join(methods)}; the paper shows MedMamba-S, by Grad-CAM."]
    notes += substitutes([block.place.source for block in blocks])
    notes.append(
        "Above each picture stands its class, and after the arrow what the model answers and how probable it finds it. "
        "One image of a class (of three classes at most) was drawn by chance from the test split, not chosen for how "
        "its map looks. Each map is stretched from its least value to its greatest, so colours of two maps do not "
        "compare. A map shows where a network found evidence for the class that it answered, not where disease is."
    )
    return notes


def _picture(blocks: list[_Block], notes: list[str]) -> bytes:
    lines = math.ceil(len(blocks) / BESIDE)
    block_width, block_height = SHOWN * (SIDE + GAP) + 0.35, HEAD + len(ROWS) * (SIDE + GAP) + 0.1
    width, height = 0.35 + min(BESIDE, len(blocks)) * block_width + 0.6, lines * block_height
    figure = new_figure(width, height)
    for number, block in enumerate(blocks):
        left = 0.35 + (number % BESIDE) * block_width
        top = height - (number // BESIDE) * block_height
        _draw_block(figure, block, left, top, named=number % BESIDE == 0)
    _bar(figure, (width - 0.5) / width, 1 - (HEAD + len(ROWS) * SIDE) / height, 0.1 / width, len(ROWS) * SIDE / height)
    footer(figure, notes, width=width, y=-0.01)
    return png(figure)


def _draw_block(figure: Figure, block: _Block, left: float, top: float, *, named: bool) -> None:
    """A block of three rows, its left and upper edge in inches from the left and from the bottom of the figure."""
    width, height = figure.get_size_inches()

    def axes_at(x: float, y: float, wide: float, high: float) -> Any:
        return figure.add_axes((x / width, y / height, wide / width, high / height))

    title = block.place.source.title + (f", {of_bundle(block.about)}" if block.about else "")
    figure.text(left / width, (top - 0.2) / height, title, fontsize="small", fontweight="bold", va="bottom")
    if block.why_empty:
        bottom = top - HEAD - len(ROWS) * (SIDE + GAP) + GAP
        say(axes_at(left, bottom, SHOWN * (SIDE + GAP) - GAP, len(ROWS) * (SIDE + GAP) - GAP), block.why_empty)
        return
    for column, shown in enumerate(block.shown):
        at = ((left + column * (SIDE + GAP)) / width, (top - HEAD + 0.05) / height)
        figure.text(*at, _words(shown.entry), fontsize="x-small", va="bottom", linespacing=1.15)
        for line, kind in enumerate(ROWS):
            axes = axes_at(left + column * (SIDE + GAP), top - HEAD - (line + 1) * SIDE - line * GAP, SIDE, SIDE)
            _show(axes, kind, shown)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if column == 0 and named:
                axes.set_ylabel(kind, fontsize="small")


def _show(axes: Any, kind: str, shown: _Shown) -> None:
    if kind == "original":
        axes.imshow(shown.image, cmap="gray", vmin=0, vmax=255)
    elif kind == "overlay":
        axes.imshow(overlay(shown.image, shown.heat, "paper"))
    elif shown.entry["empty"]:
        say(axes, EMPTY.replace(" ", "\n", 1))
    else:
        axes.imshow(shown.heat, cmap=COLOURS["paper"], vmin=0, vmax=1)


def _words(entry: dict[str, Any]) -> str:
    """The class, and below it the answer."""
    true, said = (readable(of_class(entry[key], 16)) for key in ("class", "predicted"))
    return f"{true}\n\N{RIGHTWARDS ARROW} {said}\n    p = {entry['probability']:.2f}"


def _bar(figure: Figure, left: float, bottom: float, wide: float, high: float) -> None:
    axes = figure.add_axes((left, bottom, wide, high))
    axes.imshow(np.linspace(1, 0, 256)[:, None], cmap=COLOURS["paper"], aspect="auto", extent=(0, 1, 0, 1))
    axes.set(xticks=[])
    axes.yaxis.tick_right()
    axes.set_yticks([0, 0.5, 1], ["low", "medium", "high"], fontsize="x-small", color=SOFT)
    axes.set_title("relevance", fontsize="x-small", color=SOFT)
