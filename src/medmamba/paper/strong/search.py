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
        trials = [{"trial": place, **trial} for place, trial in enumerate(entries["trials"], 1)]
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise InputError(f"{path} is no file of a search ({reason}); restore it or delete it") from reason
    scored = sorted((t for t in trials if t.get("score") is not None), key=lambda t: t["score"], reverse=True)
    if not scored:
        return Sheet("search", TITLE, (f"{len(trials)} trials are kept, none with a score.",), (), (), ())
    best = scored[:TOP]
    shown = best if trials[0] in best or trials[0] not in scored else [trials[0], *best]
    about = {key: value for key, value in entries.items() if _is_plain(value)}
    records = [{"kind": "trial", "file": FILE, "rank": scored.index(t) + 1, **t} for t in shown]
    tried = {name: _distinct(trials, name) for name in _settings(trials)}
    records.append({**about, "kind": "search", "file": FILE, "trials": len(trials), "tried": tried})
    return Sheet(
        "search", TITLE, tuple(_lead(trials, scored, about)), (_table(trials, shown, scored),), (), tuple(records)
    )


def _lead(
    trials: Sequence[Mapping[str, Any]], scored: Sequence[Mapping[str, Any]], about: Mapping[str, Any]
) -> list[str]:
    sets = list(dict.fromkeys(name for trial in trials for name in trial.get("sets", ())))
    first, best = trials[0], scored[0]
    start = "has no score" if first.get("score") is None else f"scored {number(first['score'], digits=4)}"
    highest = f"trial {best['trial']}, {number(best['score'], digits=4)}"
    said = [
        f"{len(trials)} trials, judged by validation images alone of {titles(sets)}.",
        f"The first, the recipe as it was, {start}; the best, {highest}. The best of many is partly luck: its score is "
        "no estimate of what it will give.",
    ]
    words = "; ".join(f"{key} {plain(value)}" for key, value in about.items() if key != "sets" and value is not None)
    return [*said, f"What was the same in all: {words}."] if words else said


def _table(
    trials: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]], scored: Sequence[Mapping[str, Any]]
) -> Part:
    """A column a trial: the first, then the best."""
    head = ("", "tried", *(f"trial {t['trial']}, rank {scored.index(t) + 1}" for t in shown))
    rows: list[tuple[str, ...]] = [("score", "", *(number(t["score"], digits=4) for t in shown))]
    for name in _settings(trials):
        values = (plain((t.get("settings") or {}).get(name, "-")) for t in shown)
        rows.append((name, _range(_distinct(trials, name)), *values))
    for data in dict.fromkeys(name for trial in shown for name in trial.get("sets", ())):
        for metric in METRICS:
            figures = [(t.get("sets") or {}).get(data, {}).get(metric) for t in shown]
            words = ("-" if figure is None else number(figure) for figure in figures)
            rows.append((f"{titles([data])}, {NAMES[metric]}", "", *words))
    return Part(f"The first and the best {TOP}", head, rows, has_runs=True)


def _settings(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of all settings that a trial has."""
    return list(dict.fromkeys(name for trial in trials for name in trial.get("settings") or ()))


def _distinct(trials: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """The values that a setting took."""
    tried = [trial["settings"][name] for trial in trials if name in (trial.get("settings") or ())]
    return list({json.dumps(value, sort_keys=True): value for value in tried}.values())


def _range(distinct: Sequence[Any]) -> str:
    """The values that a setting took in words; of many numbers the lowest and the highest."""
    numbers = sorted(value for value in distinct if isinstance(value, int | float))
    if len(numbers) > 4:
        words = [f"{plain(numbers[0])} to {plain(numbers[-1])}"]
    else:
        words = list(map(plain, numbers))
    return ", ".join([*words, *sorted(plain(value) for value in distinct if not isinstance(value, int | float))])


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, str | int | float) for each in value)
    return value is None or isinstance(value, str | int | float)
