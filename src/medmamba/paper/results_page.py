"""The page of results, `docs/reference/results.md`, from the tables, figures and runs in a folder of results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from medmamba.paper.figures import FIGURES
from medmamba.paper.reproduce import TABLES
from medmamba.paper.results_figures import figure_lines, runs_of_figure
from medmamba.paper.results_summary import summary
from medmamba.paper.rows import ABSENT, CITED, NOT_RUN
from medmamba.paper.run_file import read_run
from medmamba.paper.sheet import NOTICE, Part, Sheet, table_lines

PLACE = "../../benchmarks/results/paper"  # of the results, from the page
OWN_RUNS = "figures"  # folder of figures beside their own runs: one of a table may have the same name
_HEAD = """# Results

What of the paper (Yue & Li, arXiv 2403.03849) comes out here, and what does not. This page is made by
`python benchmarks/paper_results.py` from the run files in `benchmarks/results/paper`; every number of ours in the
tables is over runs that its last part names, with commit, seed and card.
[How to make them again](../how-to/reproduce.md).

"""
_NOTHING = """There are no runs yet, so nothing can be said of tables 3 to 7. Tables 1 and 2, the architecture and the
data sets, need none: `medmamba reproduce table1`, `medmamba reproduce table2`.

"""


def page(folder: Path) -> str:
    """The page, in Markdown.

    Args:
        folder: Of results: `table1.json` to `table7.json` and `figure3.json` to `figure7.json` as `medmamba reproduce`
            wrote them, those that are there, and `runs`. Figures whose models are trainings of their own lie with their
            `runs` in the folder `figures` in it.

    Raises:
        InputError: A run that a table names cannot be read.
    """
    sheets = [read_sheet(path) for name in TABLES if (path := folder / f"{name}.json").is_file()]
    if not any(part.has_runs for sheet in sheets for part in sheet.parts):
        return f"{_HEAD}{_NOTHING}{NOTICE}\n"
    drawn = {
        name: (place, json.loads(path.read_text(encoding="utf-8")))
        for name in FIGURES
        for place in ("", OWN_RUNS)
        if (path := folder / place / f"{name}.json").is_file()
    }
    lines = list(summary(sheets))
    lines += [line for sheet in sheets for line in _table(sheet)]
    for name, (place, report) in drawn.items():
        lines += figure_lines(name, report, folder / place, f"{PLACE}/{place}".rstrip("/"))
    notes = dict.fromkeys(note for sheet in sheets if _has_runs(sheet) for note in sheet.notes)
    lines += ["## How to read it", "", *(f"- {note}" for note in notes), ""]
    named = {run for sheet in sheets for record in sheet.records for run in record.get("runs", ())}
    for name, (place, report) in drawn.items():
        shown = (str(PurePosixPath(place) / run) for run in runs_of_figure(name, report))
        named |= {run for run in shown if (folder / run).is_file()}
    return _HEAD + "\n".join([*lines, *trace(folder, sorted(named), "paper"), NOTICE, ""])


def read_sheet(path: Path) -> Sheet:
    """A table as `medmamba reproduce` wrote it."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    parts = tuple(
        Part(
            part["title"],
            tuple(part["head"]),
            [tuple(row) for row in part["rows"]],
            tuple(part["words"]),
            part["has_runs"],
        )
        for part in entries["parts"]
    )
    rest = (tuple(entries[name]) for name in ("notes", "records"))
    return Sheet(entries["name"], entries["title"], tuple(entries["lead"]), parts, *rest)


def _has_runs(sheet: Sheet) -> bool:
    return any(part.has_runs for part in sheet.parts)


def _table(sheet: Sheet) -> Iterator[str]:
    """What was found, and the parts that hold runs; models without a run are named below."""
    yield from (f"## {sheet.title}", "")
    for sentence in sheet.lead:
        yield from (sentence, "")
    yield from (f"[The whole table]({PLACE}/{sheet.name}.md).", "")
    for part in sheet.parts:
        if part.has_runs:
            yield from (f"### {part.title}", "")
            for sentence in part.words:
                yield from (sentence, "")
            rows, missing = _split(part)
            yield from (*table_lines(part.head, rows), "")
            if missing:
                yield from (f"Without a run: {', '.join(missing)}.", "")


def _split(part: Part) -> tuple[list[tuple[str, ...]], list[str]]:
    """The lines that hold runs, and the other models with the reason: each is one line that ends in it."""
    missing = [row for row in part.rows if row[0] and row[-1] in (NOT_RUN, ABSENT, CITED)]
    return [row for row in part.rows if row not in missing], [f"{row[0]} ({row[-1]})" for row in missing]


def trace(folder: Path, names: Sequence[str], place: str = "") -> Iterator[str]:
    """A line for each run that a figure is from; paths are below `folder`, which is `place` among the results."""
    below = f"benchmarks/results/{place}".rstrip("/")
    yield from ("## The runs", "", f"Paths are below `{below}`; AUC and accuracy are of the test split.", "")
    head = ("run", "seed", "commit", "device", "epoch, of", "minutes", "n", "accuracy", "AUC")
    yield from (*table_lines(head, [(f"`{name}`", *_facts(read_run(folder / name))) for name in names]), "")


def _facts(entries: Mapping[str, Any]) -> Sequence[str]:
    test = entries["test"]
    return (
        str(entries["seed"]),
        str(entries["commit"])[:10],
        str(entries["device"]),
        "-" if entries["epochs"] is None else f"{entries['best_epoch']}, {entries['epochs']}",  # of a network
        f"{entries['train_seconds'] / 60:.1f}",
        str(test["n"]),
        f"{test['accuracy']['value']:.4f}",
        f"{test['auc']['value']:.4f}",
    )
