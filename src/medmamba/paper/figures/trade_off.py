"""Figure 4: accuracy against operations, a bubble a model, from the files of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import numpy as np

from medmamba.data.catalogue import MEDMNIST
from medmamba.drawing import COLOURS, new_figure, png
from medmamba.errors import InputError
from medmamba.evaluation.cost import CONVENTION
from medmamba.paper.cells import LEVEL, RESAMPLES
from medmamba.paper.costs import CLASSES
from medmamba.paper.figures.inputs import SOFT, Inputs, check_out, finish, footer, substitutes
from medmamba.paper.figures.placing import place_labels
from medmamba.paper.figures.points import Point, Runs, mean_point, point, read_runs
from medmamba.paper.sets import SOURCES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# start of a model's name: colour; others are grey
FAMILIES = {
    "medmamba": ("MedMamba", COLOURS[1]),
    "vmamba": ("VMamba", COLOURS[4]),
    "medvit": ("MedViT", COLOURS[3]),
    "resnet": ("ResNet", COLOURS[0]),
    "convnext": ("ConvNeXt", COLOURS[5]),
    "swin": ("Swin", COLOURS[2]),
    "": ("others", COLOURS[6]),
}
AREA = 6.0  # points squared of a bubble for each million parameters
SIZES = (5, 25, 50)  # million parameters of the legend's bubbles
BESIDE = 2  # panels in one line
WIDTH, HEIGHT = 4.9, 3.7  # of a panel with its words, inches
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # 10^9 multiply-adds


def draw(inputs: Inputs) -> dict[str, Any]:
    """Draw accuracy against multiply-adds, with parameters as areas, from `results/runs`.

    The paper has two panels, means over its sets that are none of MedMNIST's (a) and over those that are (b). Here are
    a panel for each set, and before them the mean over MedMNIST's sets of the models that ran on all of those.

    Returns:
        What `figure4.json` holds: `panels`, each with its sets and `points`: label, model, seeds, accuracy with 95 %
        interval, parameters, multiply-adds, the files of runs; `left_out`, what is not drawn and why; `notes`.

    Raises:
        InputError: There are no runs, or a file of one is damaged.
    """
    check_out(inputs)
    folder = inputs.results / "runs"
    runs, left_out = read_runs(folder)
    if not runs:
        reasons = "".join(f"; {reason}" for reason in left_out[:3])
        raise InputError(f"{folder} holds no run that can be drawn{reasons}; make runs first")
    by_set: dict[str, list[Runs]] = {}
    for each in runs:
        by_set.setdefault(each.data, []).append(each)
    names = [name for name in SOURCES if name in by_set]
    panels = [_panel(SOURCES[name].title, [name], [point(each, folder) for each in by_set[name]]) for name in names]
    ours = [name for name in names if name in MEDMNIST]
    if len(ours) > 1:
        mean, missing = _mean([by_set[name] for name in ours], folder)
        left_out += missing
        titles = ", ".join(SOURCES[name].title for name in ours)
        panels.insert(0, _panel(f"mean over {titles}", ours, mean))
    panels = [panel for panel in panels if panel["points"]]
    notes = _notes(names, left_out, runs)
    report = {
        "title": "Accuracy against operations",
        "panels": panels,
        "left_out": left_out,
        "convention": CONVENTION,
        "interval": f"{LEVEL:.0%}, bootstrap of {RESAMPLES} resamples, seeds and test images (within class) together",
        "notes": notes,
    }
    return finish(inputs, "figure4", _picture(panels, notes), report)


def _panel(title: str, sets: Sequence[str], points: Sequence[Point]) -> dict[str, Any]:
    return {"title": title, "sets": list(sets), "points": [each.to_dict() for each in points]}


def _mean(by_set: Sequence[Sequence[Runs]], folder: Path) -> tuple[list[Point], list[str]]:
    """The models that ran on every set, and a sentence for each that did not."""
    keys = dict.fromkeys(each.key for some in by_set for each in some)
    found, missing = [], []
    for key in keys:
        rows = [each for some in by_set for each in some if each.key == key]
        if len(rows) == len(by_set):
            found.append(mean_point(rows, folder))
        else:
            there = ", ".join(SOURCES[each.data].title for each in rows)
            missing.append(f"{rows[0].label} in the mean (it ran on {there} alone)")
    return found, missing


def _notes(names: Sequence[str], left_out: Sequence[str], runs: Sequence[Runs]) -> list[str]:
    seeds = sorted({len(each.runs) for each in runs})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    notes = [
        f"Means of {count} seeds. Bars are 95 % intervals over seeds and test images together; with one seed they are "
        "of the test images alone. Operations are multiply-adds of convolutions and linear layers, as the paper counts "
        f"them: without scans and the products of attention, with {CLASSES} classes.",
        *substitutes([SOURCES[name] for name in names]),
    ]
    if left_out:
        notes.append(f"Not drawn: {'; '.join(left_out)}.")
    return notes


def _picture(panels: Sequence[dict[str, Any]], notes: Sequence[str]) -> bytes:
    beside = min(BESIDE, len(panels))
    width, height = beside * WIDTH, math.ceil(len(panels) / beside) * HEIGHT
    figure = new_figure(width, height)
    drawn = [each for panel in panels for each in panel["points"]]
    limits = _limits([each["macs_conv_linear"] / 1e9 for each in drawn])
    for number, panel in enumerate(panels):
        left, bottom = number % beside * WIDTH + 0.6, height - (number // beside + 1) * HEIGHT + 0.5
        axes = figure.add_axes((left / width, bottom / height, (WIDTH - 0.7) / width, (HEIGHT - 0.85) / height))
        axes.set_title(f"{ascii_lowercase[number]}: {panel['title']}", fontsize="small", loc="left")
        _bubbles(axes, panel["points"], limits)
    _legends(figure, drawn, height)
    footer(figure, notes, width=width, y=-0.9 / height)
    return png(figure)


def _limits(macs: Sequence[float]) -> tuple[float, float]:
    return min(macs) / 1.6, max(macs) * 1.9


def _bubbles(axes: Axes, points: Sequence[dict[str, Any]], limits: tuple[float, float]) -> None:
    x = [each["macs_conv_linear"] / 1e9 for each in points]
    y = [each["accuracy"]["value"] for each in points]
    areas = [AREA * each["parameters"] / 1e6 for each in points]
    colours = [_family(each["model"])[1] for each in points]
    axes.set(xscale="log", xlim=limits, xlabel="multiply-adds, 10⁹ (log scale)", ylabel="accuracy")
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    for each, at, colour in zip(points, x, colours, strict=True):
        low, high = each["accuracy"]["low"], each["accuracy"]["high"]
        if low is not None:
            axes.vlines(at, low, high, color=colour, linewidth=0.8)
    axes.scatter(x, y, s=areas, c=colours, alpha=0.65, edgecolors="white", linewidths=0.8, zorder=3)
    shown = [tick for tick in TICKS if limits[0] <= tick <= limits[1]]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.set_xticks([], minor=True)
    bounds = [bound for each in points for bound in each["accuracy"].values() if bound is not None]
    room = max(0.02, 0.12 * (max(bounds) - min(bounds)))
    axes.set_ylim(min(bounds) - room, max(bounds) + room)
    place_labels(axes, x, y, [math.sqrt(area / math.pi) for area in areas], [each["label"] for each in points])


def _legends(figure: Figure, points: Sequence[dict[str, Any]], height: float) -> None:
    """Colours of the families and sizes of the bubbles, below the panels."""
    axes = figure.axes[0]
    there = {_family(each["model"]) for each in points}
    families = [family for family in FAMILIES.values() if family in there]
    look: dict[str, Any] = {"edgecolors": "white", "alpha": 0.65}
    signs = [axes.scatter([np.nan], [np.nan], s=60, c=colour, label=name, **look) for name, colour in families]
    sizes = [
        axes.scatter([np.nan], [np.nan], s=AREA * size, c=SOFT, label=f"{size} M parameters", **look) for size in SIZES
    ]
    place: dict[str, Any] = {"loc": "upper center", "frameon": False, "fontsize": "small"}
    figure.legend(handles=signs, ncols=len(signs), bbox_to_anchor=(0.5, 0.05 / height), **place)
    figure.legend(handles=sizes, ncols=len(sizes), bbox_to_anchor=(0.5, -0.25 / height), **place)


def _family(model: str) -> tuple[str, str]:
    return next(family for start, family in FAMILIES.items() if model.startswith(start))
