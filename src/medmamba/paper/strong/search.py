"""Table 7: the trials by which the recipe's numbers were chosen, whatever settings and data sets they name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medmamba.errors import InputError
from medmamba.paper.sheet import Part, Sheet
from medmamba.paper.strong.differences import plain
from medmamba.paper.strong.entries import METRICS, NAMES, number
from medmamba.paper.strong.starts import titles

FILE = "recipe-search.json"
TOP = 5
TITLE = "The search"
Trial = Mapping[str, Any]


def search(results: Path) -> Sheet:
    """What was tried, and what came out best.

    Raises:
        InputError: The file cannot be read.
    """
    path = results / FILE
    if not path.is_file():
        return Sheet("search", TITLE, ("No trials of a search are kept: not run.",), (), (), ())
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        trials, start = _ranked(entries["trials"]), entries["start"]
        finalists = _ranked(entries["finalists"])
        about = {key: entries[key] for key in ("model", "sets", "parts", "of_trials", "of_finalists")}
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise InputError(f"{path} is no file of a search ({reason!r}); restore it or delete it") from reason
    as_it_was = [trial for trial in trials[TOP:] if trial["settings"] == start]
    tried = {name: _distinct(trials, name) for name in start}
    shown = [*trials[:TOP], *as_it_was]
    records = [{"kind": "trial", "file": FILE, **trial} for trial in shown]
    records += [{"kind": "finalist", "file": FILE, **finalist} for finalist in finalists]
    records.append({**about, "kind": "search", "file": FILE, "trials": len(trials), "start": start, "tried": tried})
    parts = [Part("The best trials, and the recipe as it was", *_table(shown, start, tried), has_runs=True)]
    if finalists:
        parts.append(Part("The finalists", *_table(finalists, start, tried), has_runs=True))
    return Sheet("search", TITLE, tuple(_lead(trials, finalists, start, about)), tuple(parts), (), tuple(records))


def _ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The best first, each with its rank."""
    ordered = sorted(trials, key=lambda trial: -trial["score"])
    return [{"rank": rank, **trial} for rank, trial in enumerate(ordered, 1)]


def _lead(
    trials: Sequence[Trial], finalists: Sequence[Trial], start: Mapping[str, Any], about: Mapping[str, Any]
) -> list[str]:
    parts, few, full = about["parts"], about["of_trials"], about["of_finalists"]
    said = [
        f"{len(trials)} trials of {about['model']} on small parts of {titles(about['sets'])}, no test image among "
        f"them: {parts['train']} images to train on, {parts['choose']} to choose the epoch, and at most "
        f"{parts['judge']} others to judge what was chosen. The score is the mean over the sets of AUC and accuracy. "
        f"A trial trains at {few['image_size'][0]} pixels for {few['images']} images, with seed {few['seed']}."
    ]
    if known := [trial for trial in trials if trial["settings"] == start]:
        said.append(f"The recipe as it was had rank {known[0]['rank']}, {number(known[0]['score'], digits=4)}.")
    if finalists:
        more = (
            "" if any(each["settings"] == start for each in finalists) else "; the recipe as it was is not among them"
        )
        said.append(
            f"The best were trained again at {full['image_size'][0]} pixels for {full['images']} images with seed "
            f"{full['seed']}{more}. The best of these, {number(finalists[0]['score'], digits=4)}, is the recipe."
        )
    return [*said, "The best of many is partly luck: its score is no estimate of what it will give."]


def _table(
    shown: Sequence[Trial], start: Mapping[str, Any], tried: Mapping[str, Sequence[Any]]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A column a trial, by rank."""
    names = (f"rank {t['rank']}{', as it was' * (t['settings'] == start)}" for t in shown)
    rows: list[tuple[str, ...]] = [("score", "", *(number(t["score"], digits=4) for t in shown))]
    rows += [(name, _range(values), *(plain(t["settings"][name]) for t in shown)) for name, values in tried.items()]
    for data in shown[0]["sets"]:
        for metric in METRICS:
            figures = (number(t["sets"][data][metric]) for t in shown)
            rows.append((f"{titles([data])}, {NAMES[metric]}", "", *figures))
    return ("", "tried", *names), rows


def _distinct(trials: Sequence[Trial], name: str) -> list[Any]:
    """The values that a setting took."""
    return list({json.dumps(value): value for value in (trial["settings"][name] for trial in trials)}.values())


def _range(distinct: Sequence[Any]) -> str:
    """The values that a setting took in words; of many numbers the lowest and the highest."""
    numbers = sorted(value for value in distinct if isinstance(value, int | float))
    if len(numbers) > 4:
        words = [f"{plain(numbers[0])} to {plain(numbers[-1])}"]
    else:
        words = list(map(plain, numbers))
    return ", ".join([*words, *sorted(plain(value) for value in distinct if not isinstance(value, int | float))])
