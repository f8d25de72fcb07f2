"""The page of results, `docs/reference/results.md`, from the tables and runs in a folder of results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medmamba.paper.figures import FIGURES
from medmamba.paper.ours import read_run
from medmamba.paper.results import TABLES
from medmamba.paper.sheet import NOTICE, Part, Sheet, table_lines

PICTURES = "../../benchmarks/results/paper"  # from the page
_HEAD = """# Results

What of the paper (Yue & Li, arXiv 2403.03849) comes out here, and what does not. This page is made by
`python benchmarks/paper_results.py` from the run files in `benchmarks/results/paper`; every figure of ours is over runs
that its last part names, with commit, seed and card. [How to make them again](../how-to/reproduce.md).

"""
_NOTHING = """There are no runs yet, so nothing can be said of tables 3 to 7. Tables 1 and 2, the architecture and the
data sets, need none: `medmamba reproduce table1`, `medmamba reproduce table2`.

"""


def page(folder: Path) -> str:
    """The page, in Markdown.

    Args:
        folder: Of results: `table3.json` to `table7.json` as `medmamba reproduce` wrote them, and `runs`.

    Raises:
        InputError: A run that a table names cannot be read.
    """
    sheets = {name: read_sheet(folder / f"{name}.json") for name in TABLES if (folder / f"{name}.json").is_file()}
    sheets = {name: sheet for name, sheet in sheets.items() if any(part.has_runs for part in sheet.parts)}
    if not sheets:
        return f"{_HEAD}{_NOTHING}{NOTICE}\n"
    lines = [line for sheet in sheets.values() for line in _table(sheet)]
    lines += _figures(folder)
    notes = dict.fromkeys(note for sheet in sheets.values() for note in sheet.notes)
    lines += ["## How to read it", "", *(f"- {note}" for note in notes), "", *_trace(folder, sheets), NOTICE, ""]
    return _HEAD + "\n".join(lines)


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


def _figures(folder: Path) -> Iterator[str]:
    """The pictures that were drawn; what is missing in them and what stands in for what is written on each."""
    for name in FIGURES:
        if (folder / f"{name}.json").is_file():
            title = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["title"]
            heading = f"Figure {name.removeprefix('figure')}: {title}"
            yield from (f"## {heading}", "", f"![{heading}]({PICTURES}/{name}.png)", "")


def _table(sheet: Sheet) -> Iterator[str]:
    """What was found, and the parts that hold runs; models without a run are named below."""
    yield from (f"## {sheet.title}", "")
    for sentence in sheet.lead:
        yield from (sentence, "")
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
    """The lines of models with runs, and the other models with the reason: a model's lines follow its name."""
    groups: list[list[tuple[str, ...]]] = []
    for row in part.rows:
        if row[0]:
            groups.append([])
        groups[-1].append(row)
    run = [group for group in groups if len(group) > 1 or not group[0][-1] or group[0][1].startswith("ours, ")]
    if part.title == "The order":
        return list(part.rows), []
    rest = [f"{group[0][0]} ({group[0][-1]})" for group in groups if group not in run]
    return [row for group in run for row in group], rest


def _trace(folder: Path, sheets: Mapping[str, Sheet]) -> Iterator[str]:
    """A line for each run that a figure is from."""
    yield from (
        "## The runs",
        "",
        "Paths are below `benchmarks/results/paper`; AUC and accuracy are of the test split.",
        "",
    )
    rows = []
    for name in sorted(
        {run for sheet in sheets.values() for record in sheet.records for run in record.get("runs", ())}
    ):
        entries = read_run(folder / name)
        rows.append((f"`{name}`", *_facts(entries)))
    head = ("run", "seed", "commit", "device", "epoch, of", "minutes", "n", "accuracy", "AUC")
    yield from (*table_lines(head, rows), "")


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
