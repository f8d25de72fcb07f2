"""What of the paper's tables was reproduced and what was not: the first part of the page of results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from medmamba.paper.printed import TITLES
from medmamba.paper.results import STATES
from medmamba.paper.rows import IN, OUT, words_of
from medmamba.paper.sets import SOURCES
from medmamba.paper.sheet import Sheet, table_lines

Row = list[dict[str, Any]]  # the records of one model on one data set, a figure each


def summary(sheets: Sequence[Sheet]) -> Iterator[str]:
    """A table of counts, then by name the rows that were run, and what became of the order of table 7."""
    counted = {sheet.title: rows for sheet in sheets if (rows := printed_rows(sheet))}
    yield from ("## In short", "", "How many rows the paper's tables of results have, and what became of them:", "")
    states = [state for state in STATES if any(_state(row) == state for rows in counted.values() for row in rows)]
    body = [
        (title, str(len(rows)), *(str(sum(_state(row) == state for row in rows)) for state in states))
        for title, rows in counted.items()
    ]
    yield from (*table_lines(("table", "rows in print", *states), body), "")
    every = [row for rows in counted.values() for row in rows]
    for state, words in _SAID.items():
        if some := [row for row in every if _state(row) == state]:
            yield from (words, "", *(f"- {_line(row)}" for row in some), "")
    if factors := [record for sheet in sheets for record in sheet.records if record.get("kind") == "factor"]:
        yield from (f"{_FACTOR} {'; '.join(_factor(record) for record in factors)}.", "")
    if steps := [record for sheet in sheets for record in sheet.records if record.get("kind") == "step"]:
        verdicts = Counter(step["accuracy"]["verdict"] for step in steps)
        outcome = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        sets = ", ".join(dict.fromkeys(SOURCES[step["data"]].title for step in steps))
        yield from (
            f"The order of table 7's ablations, in {len(steps)} differences in accuracy on {sets}: {outcome}.",
            "",
        )


_SAID = {
    IN: "What the paper prints lies in our 95 % interval, which does not prove it, for:",
    OUT: "Not reproduced, that is, a printed value lies outside our 95 % interval:",
}


_FACTOR = (
    "One experiment changes one thing alone: MedMamba-X is MedMamba-T with AutoAugment. X less T, on the same seeds "
    "and test images, in points of accuracy:"
)


def _factor(record: dict[str, Any]) -> str:
    mean, low, high = (record["accuracy"][name] for name in ("mean", "low", "high"))
    words = f"{SOURCES[record['data']].title} {100 * mean:+.1f}"
    if low is None:
        return words
    words += f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{words}, so the want of augmentation costs T accuracy there" if low > 0 else words


def printed_rows(sheet: Sheet) -> list[Row]:
    """The rows of a table that the paper prints, in its order."""
    found: dict[tuple[str, str], Row] = {}
    for record in sheet.records:
        if record.get("printed") is not None:
            found.setdefault((record["data"], record["printed_model"]), []).append(record)
    return list(found.values())


def _state(row: Row) -> str:
    return str(row[0]["status"]).partition(":")[0]


def _line(row: Row) -> str:
    """A row in words: figures outside the interval where there are any, else all."""
    first, seeds = row[0], len(row[0]["runs"])
    outside = [record for record in row if record["paper_in_interval"] is False]
    figures = "; ".join(_figure(record) for record in outside or row)
    count = f"{seeds} seeds" if seeds > 1 else "one seed"
    return f"{first['printed_model']} on {SOURCES[first['data']].title}, {count}: {figures}"


def _figure(record: dict[str, Any]) -> str:
    numbers = [words_of(record["table"], record["metric"], record[name]) for name in ("mean", "low", "high")]
    return f"{TITLES[record['metric']]} {numbers[0]} ({numbers[1]} to {numbers[2]}), in print {record['printed']}"
