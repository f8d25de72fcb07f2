"""Figure 7: accuracy of one model under the paper's corruptions, a panel a set, a line a corruption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

from medmamba.data.catalogue import CATALOGUE
from medmamba.drawing import new_figure, png
from medmamba.paper.figures.inputs import Inputs, about_bundle, check_out, finish, footer, say, substitutes
from medmamba.paper.figures.trained import NO_MEDMAMBA, Place, first_like, places
from medmamba.paper.networks import PAPER_X, of_bundle
from medmamba.paper.sets import Source, stand_in
from medmamba.predictor import load
from medmamba.robustness import sweep
from medmamba.robustness.plots import by_corruption
from medmamba.robustness.table import PAPER, chosen

OF_THE_PAPER = ("otoscopy2024", "bloodmnist", "fetal-planes-db", "dermamnist")
SETS = ("bccd", "isic2017", "busi", "retinamnist")
BESIDE = 2  # panels in one line
WIDTH, HEIGHT = 4.4, 3.4  # of a panel with its words, inches


@dataclass(frozen=True, eq=False)
class _Panel:
    """One set: the sweep's report, or why there is none."""

    place: Place
    why_empty: str | None
    about: dict[str, Any] | None
    report: dict[str, Any] | None


def draw(inputs: Inputs) -> dict[str, Any]:
    """Sweep one MedMamba a set over the paper's corruptions and draw its accuracy against severity.

    All that `sweep` writes for a set goes to the folder `figure7/SET` beside the figure.

    Returns:
        What `figure7.json` holds: `panels`, one a set, with its model, `n`, the clean accuracy and a line for each
        corruption, accuracy with 95 % interval for the severities 0 (clean) to 5; or `why_empty`; and `notes`.

    Raises:
        InputError: No trained model was given, one does not fit its data, or a package is missing.
    """
    check_out(inputs)
    panels = [_panel(inputs, place) for place in places(inputs, SETS, OF_THE_PAPER)]
    notes = _notes(panels)
    report = {"title": "Accuracy under corruptions", "panels": [_entry(panel) for panel in panels], "notes": notes}
    return finish(inputs, "figure7", _picture(panels, notes), report)


def _panel(inputs: Inputs, place: Place) -> _Panel:
    index = first_like(place, *PAPER_X, ("medmamba_tiny", None), ("medmamba_", None))
    if place.why_empty or index is None or place.data is None:
        return _Panel(place, place.why_empty or NO_MEDMAMBA, None, None)
    report = sweep(
        load(place.folders[index], device=inputs.device),
        place.data,
        out=inputs.out / "figure7" / place.source.name,
        corruptions=(PAPER,),
        limit=inputs.limit,
        seed=inputs.seed,
        progress=inputs.tell(f"corruptions of {place.source.title}"),
    )
    return _Panel(place, None, about_bundle(place.bundles[index]), report)


def _entry(panel: _Panel) -> dict[str, Any]:
    source, report = panel.place.source, panel.report
    entry: dict[str, Any] = {"set": source.name, "title": source.title, "why_empty": panel.why_empty}
    entry["model"] = panel.about
    if report is None:
        return entry
    lines = {
        row["name"]: [report["clean"]["accuracy"], *_over_severities(report, row["name"])]
        for row in report["corruptions"]
        if row["applies"]
    }
    return entry | {
        "n": report["n"],
        "accuracy": lines,
        "not_applicable": {row["name"]: row["why_not"] for row in report["corruptions"] if not row["applies"]},
        "intervals": report["intervals"],
        "notes": report["notes"],
    }


def _over_severities(report: dict[str, Any], name: str) -> list[dict[str, float | None]]:
    cells = sorted((row for row in report["cells"] if row["corruption"] == name), key=lambda row: row["severity"])
    return [row["accuracy"] for row in cells]


def _notes(panels: Sequence[_Panel]) -> list[str]:
    titles = ", ".join(CATALOGUE[name].title for name in OF_THE_PAPER)
    models = dict.fromkeys(of_bundle(panel.about) for panel in panels if panel.about is not None)
    notes = [f"Models: {', '.join(models)}; the paper shows MedMamba-X on {titles}."]
    notes += substitutes([panel.place.source for panel in panels])
    notes += [
        f"{panel.place.source.title}: {note[0].lower()}{note[1:]}"
        for panel in panels
        if panel.report is not None
        for note in panel.report["notes"]
    ]
    notes.append(
        "Severity 0 is the clean image; the paper gives no levels, those here are ours. Bands are 95 % intervals by "
        "the bootstrap of test images."
    )
    return notes


def _picture(panels: Sequence[_Panel], notes: Sequence[str]) -> bytes:
    beside = min(BESIDE, len(panels))
    width, height = beside * WIDTH, math.ceil(len(panels) / beside) * HEIGHT
    figure = new_figure(width, height)
    lowest = min(_lowest(panel.report) for panel in panels if panel.report is not None)
    for number, panel in enumerate(panels):
        left, bottom = number % beside * WIDTH + 0.6, height - (number // beside + 1) * HEIGHT + 0.5
        axes = figure.add_axes((left / width, bottom / height, (WIDTH - 0.7) / width, (HEIGHT - 1) / height))
        axes.set_title(_title(panel, ascii_lowercase[number]), fontsize="small", loc="left")
        if panel.report is None:
            say(axes, str(panel.why_empty))
            continue
        by_corruption(axes, panel.report, "accuracy", [row.name for row in chosen((PAPER,))])
        axes.set(ylim=(math.floor(lowest * 10) / 10, 1.01), ylabel="accuracy", xlabel="severity")
    drawn = [axes.get_legend_handles_labels() for axes in figure.axes]
    handles = {name: handle for some in drawn for handle, name in zip(*some, strict=True)}
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "ncols": 4, "frameon": False}
    figure.legend(handles.values(), handles.keys(), fontsize="small", **place)
    footer(figure, notes, width=width, y=-0.55 / height)
    return png(figure)


def _lowest(report: dict[str, Any]) -> float:
    figures = [report["clean"]["accuracy"], *(row["accuracy"] for row in report["cells"])]
    return min(figure["value"] if figure["low"] is None else figure["low"] for figure in figures)


def _title(panel: _Panel, letter: str) -> str:
    source: Source = panel.place.source
    words = stand_in(source, *OF_THE_PAPER)
    title = f"{letter}: {source.title}" + (f" ({words})" if words else "")
    if panel.report is None or panel.about is None:
        return title
    return f"{title}\n{of_bundle(panel.about)}, {panel.report['n']} test images"
