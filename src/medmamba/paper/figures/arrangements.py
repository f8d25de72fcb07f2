"""Figure 6: how models arrange the images of a set: t-SNE, a row a set, a column a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medmamba.data.catalogue import CATALOGUE
from medmamba.drawing import new_figure, png
from medmamba.explain.embedding import LIMIT, embed
from medmamba.explain.features import classes_of
from medmamba.explain.scatter import Panel, draw_legend, draw_panel
from medmamba.paper.figures.inputs import Inputs, about_bundle, check_out, finish, footer, of_class, say, substitutes
from medmamba.paper.figures.trained import UNTRAINED, Place, places
from medmamba.paper.networks import of_bundle
from medmamba.paper.sets import Source, stand_in
from medmamba.predictor import load

OF_THE_PAPER = ("cpn-x-ray", "fetal-planes-db", "bloodmnist", "pathmnist")
SETS = ("pneumoniamnist", "busi", "bccd", "retinamnist")
SIDE, BETWEEN, HEAD, LEFT, RIGHT = 2.9, 0.15, 0.75, 0.4, 2.0  # inches


@dataclass(frozen=True, eq=False)
class _Row:
    """One set: the class of each image (n,), the classes' names, and a panel for each model by its label."""

    place: Place
    classes: np.ndarray
    names: tuple[str, ...]
    panels: Mapping[str, Panel]
    entry: dict[str, Any]


def draw(inputs: Inputs) -> dict[str, Any]:
    """Draw the features of every trained model that was given, on the test images of its set.

    All that `embed` writes for a set goes to the folder `figure6/SET` beside the figure.

    Returns:
        What `figure6.json` holds: `panels`, one a set, with `n`, `classes`, the majority baseline, and for each model
        its silhouette, 5-NN accuracy with 95 % interval and points; or `why_empty`; and `notes`.

    Raises:
        InputError: No trained model was given, one does not fit its data, or a package is missing.
    """
    check_out(inputs)
    rows = [_row(inputs, place) for place in places(inputs, SETS, OF_THE_PAPER)]
    notes = _notes(rows)
    report = {"title": "t-SNE of features", "panels": [row.entry for row in rows], "notes": notes}
    return finish(inputs, "figure6", _picture(rows, notes, inputs.seed), report)


def _row(inputs: Inputs, place: Place) -> _Row:
    source = place.source
    entry: dict[str, Any] = {"set": source.name, "title": source.title, "why_empty": place.why_empty, "models": []}
    if place.why_empty or place.data is None:
        return _Row(place, np.zeros(0, np.int64), (), {}, entry)
    labels = _labels(place)
    # of a model that is given twice, the first
    chosen = {label: place.folders[labels.index(label)] for label in dict.fromkeys(labels)}
    out = inputs.out / "figure6" / source.name
    report = embed(
        {_plain(label): load(folder, device=inputs.device) for label, folder in chosen.items()},
        place.data,
        out=out,
        limit=LIMIT if inputs.limit is None else inputs.limit,
        seed=inputs.seed,
        progress=inputs.progress,
    )
    with np.load(out / f"features-{_plain(labels[0])}.npz", allow_pickle=False) as kept:
        classes, names = classes_of(place.bundles[0], kept["targets"])
    panels = {}
    for label, row in zip(chosen, report["models"], strict=True):
        points = report["points"][row["name"]]
        figures = {key: row[key] for key in ("silhouette", "neighbours")}
        panels[label] = Panel(label, np.array(points), figures)
        about = about_bundle(place.bundles[labels.index(label)])
        entry["models"].append({"label": label, **about, **figures, "points": points})
    known = ("n", "classes", "majority_baseline", "tsne", "images", "notes")
    return _Row(place, classes, names, panels, entry | {key: report[key] for key in known})


def _labels(place: Place) -> list[str]:
    return [of_bundle(about_bundle(bundle)) for bundle in place.bundles]


def _plain(label: str) -> str:
    """A label as a part of a file's name."""
    return "".join(mark if mark.isalnum() or mark in "-_." else "-" for mark in label)


def _notes(rows: Sequence[_Row]) -> list[str]:
    shown = [row.place.source for row in rows]
    titles = ", ".join(CATALOGUE[name].title for name in OF_THE_PAPER)
    notes = [f"The paper shows MedMamba-S, Swin-S and ConvNeXt-S on {titles}.", *substitutes(shown)]
    baselines = [
        f"{row.place.source.title} {row.entry['majority_baseline']:.3f}" for row in rows if row.entry["models"]
    ]
    notes.append(
        "Silhouette and 5-NN accuracy (95 % interval) are of the features, not of this picture, in which sizes of "
        "groups and distances between them mean little. Always answering the commonest class would be right in: "
        f"{', '.join(baselines)}. All panels of a row show the same test images in the same colours."
    )
    return notes


def _picture(rows: Sequence[_Row], notes: Sequence[str], seed: int) -> bytes:
    columns = list(dict.fromkeys(label for row in rows for label in row.panels))
    width, height = LEFT + len(columns) * (SIDE + BETWEEN) + RIGHT, len(rows) * (SIDE + HEAD)
    figure = new_figure(width, height)
    for line, row in enumerate(rows):
        bottom = height - (line + 1) * (SIDE + HEAD)
        middle = (bottom + SIDE / 2) / height
        figure.text(
            0.2 / width, middle, _title(row.place.source), rotation=90, ha="center", va="center", fontsize="medium"
        )
        for column, label in enumerate(columns):
            left = LEFT + column * (SIDE + BETWEEN)
            axes = figure.add_axes((left / width, bottom / height, SIDE / width, SIDE / height))
            if label in row.panels:
                draw_panel(axes, row.panels[label], row.classes, seed=seed)
                axes.title.set_fontsize("small")
            else:
                say(axes, f"{label}:\n{row.place.why_empty or UNTRAINED}")
        if row.panels:
            draw_legend(axes, row.classes, [of_class(name) for name in row.names])
    footer(figure, notes, width=width, y=-0.02)
    return png(figure)


def _title(source: Source) -> str:
    words = stand_in(source, *OF_THE_PAPER)
    return f"{source.title}\n({words})" if words else source.title
