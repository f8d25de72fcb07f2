"""All tables of our own recipe as JSON, and the page of the documents about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medmamba.json_file import write_json
from medmamba.paper.results_page import read_sheet, trace
from medmamba.paper.run_file import read_run
from medmamba.paper.sheet import NOTICE, Sheet, markdown, table_lines
from medmamba.paper.strong.differences import parts
from medmamba.paper.strong.found import OURS, Runs, read_runs
from medmamba.paper.strong.scores import busi, main, rivals
from medmamba.paper.strong.search import search
from medmamba.paper.strong.starts import ensemble, pretraining

TABLES: dict[str, Callable[[Runs], Sheet]] = {
    "main": main,
    "rivals": rivals,
    "busi": busi,
    "parts": parts,
    "ensemble": ensemble,
    "pretraining": pretraining,
    "search": lambda found: search(found.results),
}
TRACED = ("seed", "commit", "device", "data", "model", "recipe")
_HEAD = """# The recipe strong

What the recipe [`strong`](recipes.md) gives for MedMamba and its rivals, beside the paper's recipes and never mixed
with them. All start from random weights where nothing else is said, none from weights of others. This page is made by
`python benchmarks/recipe_results.py` from the run files below `benchmarks/results`; every number of ours is over runs
that its last part names, with commit, seed and card. What comes of the paper's own tables: [results](results.md).

"""
_READING = """## How to read it

- Images of MedMNIST have 28 pixels and are enlarged to 224; BUSI's are scaled to 224. A figure is of single models, the
  mean over seeds 0, 1 and 2, fixed beforehand; where fewer have run, the cell says how many and gives no verdict. The
  epoch was chosen on the validation split; the test split was scored once.
- Behind each figure stands its 95 % interval, in which seeds and test images are drawn together; on several sets those
  of each set by themselves. Of three seeds it is somewhat too narrow.
- Differences are paired: both models have the same seeds and the same test images. `ahead` and `behind` are said where
  the p-value of the same resamples is below 0.05 after Holm's correction for the other differences of the table in that
  figure: means over several sets among themselves, single sets among themselves. An interval that leaves 0 out may
  therefore be `not decided`, which does not say that two are equal.
- The paper's numbers are one run each, as printed in its table 6. Comparisons with them are not paired, since their
  answers are not to be had, and not corrected.
- The recipe was searched with MedMamba-T alone. Its rivals take it as it is: what a search of their own would give them
  is not known.
- BreastMNIST was made from BUSI: nothing that is tested on one was trained or chosen on the other.
- The files of the tables are in `benchmarks/results/recipe`.

"""


def write_tables(results: Path) -> list[str]:
    """Write every table to `recipe/NAME.json` in a folder of results; its runs with commit, seed and card are in it.

    Returns:
        Their names.

    Raises:
        InputError: A file of a run, a backbone or the search cannot be read. Nothing is written then.
    """
    found = read_runs(results)
    sheets = [(name, make(found)) for name, make in TABLES.items()]
    (results / OURS).mkdir(parents=True, exist_ok=True)
    for name, sheet in sheets:
        runs = {run: _facts(results / run) for run in runs_of(sheet)}
        write_json(results / OURS / f"{name}.json", {**asdict(sheet), "runs": runs})
    return list(TABLES)


def page(results: Path) -> str:
    """The page, in Markdown, from the tables that `write_tables` wrote.

    Raises:
        InputError: A run that a table names cannot be read.
    """
    sheets = [read_sheet(path) for name in TABLES if (path := results / OURS / f"{name}.json").is_file()]
    if not sheets:
        return f"{_HEAD}There are no runs with this recipe yet, so nothing can be said of it.\n\n{NOTICE}\n"
    names = sorted({run for sheet in sheets for run in runs_of(sheet)})
    lines = [markdown(sheet, level=2) for sheet in sheets]
    return _HEAD + "\n".join(lines) + "\n" + _READING + "\n".join([*trace(results, names), NOTICE, ""])


def parts_tables(results: Path) -> str:
    """What each part of the recipe gives, as the how-to about few images shows it: Markdown, from its table's file."""
    sheet = read_sheet(results / OURS / "parts.json")
    lines = [*sheet.lead, ""]
    for part in sheet.parts:
        lines += [part.title, "", *table_lines(part.head, part.rows), ""]
    return "\n".join(lines)


def runs_of(sheet: Sheet) -> list[str]:
    """Every run that a figure of the table is from."""
    return sorted({run for record in sheet.records for run in (*record.get("runs", ()), *record.get("less", ()))})


def _facts(path: Path) -> dict[str, Any]:
    entries = read_run(path)
    return {name: entries[name] for name in TRACED}
