"""What `robustness` found, where it was run: read from its file, and shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from medmamba.errors import InputError
from medmamba.metrics import in_words
from medmamba.page import text
from medmamba.report.charts import Frame, Line, chart, legend
from medmamba.report.tables import figure_cells, meaning, table

FILE = "robustness.json"
WORST = 10  # cells that are listed; the others lie behind a click
SHOWN = {"auc": "AUC", "accuracy": "accuracy", "balanced_error": "balanced error", "flip_rate": "flip rate"}
SEVERITIES = range(6)
MEANINGS = (
    "<li><b>severity</b>: from 1, hardly seen, to 5; how much each is stands in robustness.json</li>"
    "<li><b>balanced error</b>: share of images answered wrongly, mean over the classes</li>"
    "<li><b>flip rate</b>: share of images whose answer is another one than for the clean image</li>"
)


def read_robustness(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What `medmamba.robustness.sweep` wrote into a folder.

    Raises:
        InputError: There is no such file, or it is damaged.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no {FILE}; give the folder that robustness wrote")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as reason:
        raise InputError(f"{path} is damaged ({reason}); run robustness again") from None
    if not isinstance(found, dict) or not {"cells", "clean", "corruptions", "data", "classes", "n"} <= set(found):
        raise InputError(f"{path} is no result of robustness; run it again")
    return found


def other_images(stress: dict[str, Any], report: dict[str, Any]) -> str | None:
    """Why a sweep is not of these images and this model; None where it is."""
    for what, theirs, ours in (
        ("classes", stress["classes"], report["classes"]),
        ("data", stress["data"]["name"], report["data"]["name"]),
        ("split", stress["data"]["split"], report["data"]["split"]),
        ("model", stress["model"]["name"], report["model"]["name"]),
    ):
        if theirs != ours:
            return f"the robustness that was measured is of another {what} ({theirs}, here {ours}) and is left out"
    theirs, ours = stress["clean"]["accuracy"]["value"], report["accuracy"]["value"]
    if stress["n"] == report["n"] and None not in (theirs, ours) and abs(theirs - ours) > 1 / report["n"] + 1e-9:
        return f"the robustness that was measured is of other weights (clean accuracy {theirs:.3f}) and is left out"
    return None


def section(stress: dict[str, Any]) -> str:
    """The curves, the worst cells, and what to know of them."""
    shown = [row["name"] for row in stress["corruptions"] if row["applies"]]
    panels = "".join(_panel(name, stress) for name in shown)
    keys = [Line([], name, colour) for colour, name in enumerate(SHOWN.values())]
    head = ("corruption", "severity", *SHOWN.values())
    rows = [_row("clean", "0", stress["clean"])]
    rows += [_row(cell["corruption"].replace("_", " "), str(cell["severity"]), cell) for cell in stress["cells"]]
    rest = rows[1 + WORST :]
    more = (
        f"<details><summary>The other {len(rest)} kinds and severities</summary>{table(head, rest)}</details>"
        if rest
        else ""
    )
    notes = "".join(f"<li>{text(note.replace('_', ' '))}</li>" for note in stress.get("notes", ()))
    of = f"On {stress['n']} of {stress['data']['images']} images, in the table the worst first."
    about = f"<li><b>intervals</b>: {text(stress['intervals'])}</li>" if stress.get("intervals") else ""
    return (
        f'<p class="advice">{of} Severity 0 is the clean images; bands are 95% intervals.</p>'
        f'{legend(keys)}<div class="panels">{panels}</div>'
        f"{table(head, rows[: 1 + WORST])}{more}{meaning(MEANINGS + about)}{f'<ul>{notes}</ul>' if notes else ''}"
    )


def _row(name: str, severity: str, figures: dict[str, Any]) -> list[str]:
    return [f"<td>{text(name)}</td>", f"<td class=number>{severity}</td>", *figure_cells(figures[key] for key in SHOWN)]


def _panel(name: str, stress: dict[str, Any]) -> str:
    cells = sorted((cell for cell in stress["cells"] if cell["corruption"] == name), key=lambda cell: cell["severity"])
    steps = [stress["clean"], *cells]
    lines = []
    for colour, (key, word) in enumerate(SHOWN.items()):
        figures = [(x, step[key]) for x, step in zip(SEVERITIES, steps, strict=False)]
        points = [(x, figure["value"]) for x, figure in figures if figure["value"] is not None]
        band = [(x, figure["low"], figure["high"]) for x, figure in figures if figure["low"] is not None]
        lines.append(Line(points, word, colour, band))
    frame = Frame(230, 170, right=5, x_ticks=tuple(SEVERITIES), y_ticks=(0, 0.5, 1))
    plain = name.replace("_", " ")
    worst = max(cells, key=lambda cell: cell["balanced_error"]["value"] or 0, default=None)
    told = plain if worst is None else f"{plain}: balanced error up to {in_words(worst['balanced_error'])}"
    return f"<figure>{chart(told, lines, frame)}<figcaption>{text(plain)}</figcaption></figure>"
