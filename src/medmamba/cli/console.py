"""What the verbs print, and how."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.errors import InputError
from medmamba.text import printable, spreadsheet_cell
from medmamba.writing import head

if TYPE_CHECKING:
    from medmamba.predictor import Prediction


class LogHandler(logging.Handler):
    """Plain lines on standard error, wherever that goes at the time: a progress bar borrows it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(printable(self.format(record)), file=sys.stderr)


def is_first_process() -> bool:
    """Whether this is the process that reports; with several, each runs the whole command."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[..., None]]:
    """A bar on standard error where that is a terminal, moved by calling with (done, in all[, what is being done])."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = None

    def move(done: int, total: int, step: str = what) -> None:
        nonlocal task
        if task is None:  # the bar appears with the first batch, after other lines are out
            task = bar.add_task(what, total=total)
            bar.start()
        bar.update(task, completed=done, total=total, description=step)

    try:
        yield move
    finally:
        bar.stop()


def print_table(rows: Sequence[Sequence[str]], *, header: bool = True) -> None:
    """Columns in line, two blanks apart; numbers to the right where a whole column is of numbers."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    body = rows[1:] if header else rows
    numeric = [all(row[i][:1].isdigit() or row[i] == "-" for row in body) and header for i in range(len(widths))]
    for row in rows:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        print(printable("  ".join(cells).rstrip()))


def print_headline(report: dict[str, Any]) -> None:
    """The main figures of an evaluation with their intervals, and a row a class."""
    from medmamba.metrics import headline, in_words

    data = report["data"]
    print(f"{data['name']}, split {data['split']}: {report['n']} images")
    print_table([(name, words) for name, words in headline(report)], header=False)
    columns = ("sensitivity", "specificity", "precision", "f1", "auc")
    rows = [("class", "n", *columns)]
    rows += [
        (row["name"], str(row["n"]), *(in_words(row[column]) for column in columns)) for row in report["per_class"]
    ]
    print()
    print_table(rows)
    print_trust(report)
    for title, parts in report["subgroups"].items():
        print()
        print_subgroups(title, parts)
    for note in report["notes"]:
        print(note)


def print_trust(report: dict[str, Any]) -> None:
    """How far the probabilities, prediction sets and scope keep what they promise."""
    from medmamba.metrics import in_words

    error = report["calibration"]["after"]["ece"]
    by_chance = error["by_chance"]["mean"]
    words = "" if by_chance is None else f"; {by_chance:.3f} by chance alone"
    rows = [("calibration error (ECE)", in_words(error) + words)]
    if sets := report["prediction_sets"]:
        rows.append(
            ("prediction sets hold the class", f"{in_words(sets['coverage'])}, {1 - sets['error']:.3f} promised")
        )
        rows.append(("referred to a person", in_words(sets["referred"])))
        rows.append(("right where not referred", in_words(sets["kept_right"])))
    if scope := report["scope"]:
        rows.append(("unlike the training images", in_words(scope["refused"])))
    print()
    print_table(rows, header=False)


def print_subgroups(title: str, parts: Sequence[dict[str, Any]]) -> None:
    """A row a subgroup."""
    from medmamba.metrics import in_words

    columns = [name for name in ("auc", "accuracy", "sensitivity", "specificity") if name in parts[0]]
    rows = [(title, "n", *columns)]
    rows += [(part["value"], str(part["n"]), *(in_words(part[name]) for name in columns)) for part in parts]
    print_table(rows)


def print_comparison(report: dict[str, Any]) -> None:
    """A row a figure: both models, their difference with its interval, and the p-value of its test."""
    from medmamba.metrics import in_words

    data, models = report["data"], report["models"]
    print(f"{data['name']}, split {data['split']}: {report['n']} images")
    for side, each in models.items():
        seeds = f", {len(each)} runs" if len(each) > 1 else ""
        print(f"{side}: {each[0]['name']}{seeds}")
    rows = [("", "a", "b", "b - a (95 % interval)", "p")]
    named = dict(report["differences"])
    named |= {f"sensitivity of {row['name']} (n {row['n']})": row["sensitivity"] for row in report["per_class"]}
    rows += [
        (
            name.replace("_", " "),
            _short(row["a"]),
            _short(row["b"]),
            in_words(row),
            "" if row["p"] is None else _p(row["p"]),
        )
        for name, row in named.items()
    ]
    print()
    print_table(rows)
    for note in report["notes"]:
        print(note)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def print_calibration(fitted: dict[str, Any]) -> None:
    """What was chosen, and how well the probabilities fit before and after."""
    print(f"{fitted['data']}, split {fitted['split']}: {fitted['n']} images")
    before, after = fitted["before"], fitted["after"]
    rows = [("", "before", "after")]
    rows += [(title, _short(before[key]), _short(after[key])) for key, title in FIT.items()]
    print_table(rows)
    thresholds = fitted["threshold"]
    words = ", ".join(f"{value:.3f}" for value in (thresholds if isinstance(thresholds, list) else [thresholds]))
    print(f"temperature {fitted['temperature']:.3f}; threshold {words} ({fitted['point']})")
    if sets := fitted["prediction_sets"]:
        each = "each class" if sets["by_class"] else "all classes together"
        print(f"prediction sets hold the true class of {1 - sets['error']:.0%} of images, of {each}")
    if scope := fitted["scope"]:
        print(f"{scope['refused']:.0%} of such images will be called unlike the training images; others should be")
    for note in fitted["notes"]:
        print(note)


FIT = {"nll": "negative log-likelihood", "brier": "Brier score", "ece": "expected calibration error"}


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def as_csv(answers: Sequence[Prediction], classes: Sequence[str]) -> str:
    """A row an image: file, label, the probability of each class, error; and of a calibrated model possible and refer.

    Text that a spreadsheet would compute as a formula has an apostrophe in front.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    sets = any(answer.possible is not None for answer in answers)
    refer = any(answer.refer is not None for answer in answers)
    head = ["file", "label", *classes, "error", *["possible"] * sets, *["refer"] * refer]
    writer.writerow(map(spreadsheet_cell, head))
    for answer in answers:
        scores = [f"{answer.probabilities[name]:.6f}" if answer.probabilities else "" for name in classes]
        cells = [answer.file, answer.label or "", *scores, answer.error or ""]
        cells += ["|".join(answer.possible or ())] * sets + [answer.refer or ""] * refer
        writer.writerow(map(spreadsheet_cell, cells))
    return text.getvalue()


def as_json(answers: Sequence[Prediction]) -> str:
    """A list with one object an image."""
    return json.dumps([asdict(answer) for answer in answers], indent=2, ensure_ascii=False) + "\n"


def is_answers(path: Path) -> bool:
    """Whether a file is what `as_csv` or `as_json` writes, of whatever model, told by how it begins."""
    text = head(path).decode("utf-8-sig", errors="replace")
    try:
        if text.startswith("["):
            first, _ = json.JSONDecoder().raw_decode(text[1:].lstrip())
            return isinstance(first, dict) and first.keys() >= {"file", "label", "probabilities", "error"}
        columns = next(csv.reader(io.StringIO(text)), [])
    except (ValueError, RecursionError, csv.Error):
        return False
    while columns and columns[-1] in ("possible", "refer"):
        columns.pop()
    return columns[:2] == ["file", "label"] and len(columns) > 3 and columns[-1] == "error"


def number(value: Any) -> str:
    """With separators of thousands where it is a whole number."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def parse_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs with JSON values; what is no JSON is text.

    Raises:
        InputError: There is no `=` in one of them, or its value is beyond what a description holds.
    """
    arguments = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"{pair!r} is no model argument; write name=value, for example drop_path_rate=0.2")
        try:
            arguments[name] = json.loads(value)
        except json.JSONDecodeError:
            arguments[name] = value
        except (ValueError, RecursionError):
            raise InputError(
                f"the model argument {name} has a number with thousands of digits, or lists that are too deep; "
                "write it shorter"
            ) from None
    return arguments
