"""A row of a table: figures over runs, or differences of figures, with the runs that they are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from medmamba.metrics.pairs import holm
from medmamba.paper.cells import LEVEL, Estimate, as_one, mean_over_sets, paired, paired_over_sets, summarise
from medmamba.paper.plans import SEEDS
from medmamba.paper.rows import NOT_RUN
from medmamba.paper.run_result import RunResult
from medmamba.paper.strong.found import Runs

METRICS = ("accuracy", "auc")
NAMES = {"accuracy": "accuracy", "auc": "AUC", "sensitivity": "mean sensitivity of the classes"}
AHEAD, BEHIND, UNDECIDED = "ahead", "behind", "not decided"
MEAN, DIFFERENCE, AS_ONE, GAIN = "mean", "difference", "as one", "gain"  # kinds of rows
Sets = Mapping[str, Sequence[RunResult]]  # runs by data set


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        kind: MEAN of a model's runs; DIFFERENCE of two models' means; AS_ONE, several networks as one model; GAIN, what
            that is above the mean of the same.
        about: What tells it apart, for a machine.
        sets: Data sets; of several it is the plain mean.
        seeds: Of its runs.
        figures: By metric; empty without runs.
        runs: Where they lie.
        less: Those of what is subtracted.
        verdicts: Of a difference, by metric, corrected for the other differences of its table.
    """

    kind: str
    about: Mapping[str, Any]
    sets: tuple[str, ...]
    seeds: tuple[int, ...] = ()
    figures: Mapping[str, Estimate] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    less: tuple[str, ...] = ()
    verdicts: Mapping[str, str] = field(default_factory=dict)

    def words(self, metric: str) -> str:
        """A cell of a table."""
        if not self.figures:
            return NOT_RUN
        words = interval_words(self.figures[metric], sign="+" if self.kind in (DIFFERENCE, GAIN) else "")
        words += f": {self.verdicts[metric]}" if metric in self.verdicts else ""
        return words if self.seeds == SEEDS else f"{words}, {seed_words(self.seeds)}"

    def records(self, metrics: Sequence[str] = METRICS) -> list[dict[str, Any]]:
        """The same for a machine: an object a metric."""
        shared = {"kind": self.kind, **self.about, "sets": self.sets, "seeds": self.seeds}
        found = []
        for metric in metrics:
            figure = self.figures.get(metric)
            names = ("mean", "sd", "low", "high", "p")
            numbers = {name: None if figure is None else getattr(figure, name) for name in names}
            verdict = self.verdicts.get(metric)
            found.append({**shared, "metric": metric, **numbers, "verdict": verdict, "runs": self.runs})
            if self.less:
                found[-1]["less"] = self.less
        return found


def score(found: Runs, sets: Sets, **about: Any) -> Entry:
    """The figures of one model, as the plain mean over data sets where there are several and each has a run."""
    if not all(sets.values()):
        return Entry(MEAN, about, tuple(sets))
    several = list(sets.values())
    figures = summarise(several[0]).figures if len(several) == 1 else mean_over_sets(several)
    return Entry(MEAN, about, tuple(sets), _seeds(several), figures, _names(found, several))


def difference(found: Runs, first: Sets, second: Sets, **about: Any) -> Entry:
    """The second less the first, on the seeds that both have on each data set."""
    pairs = [_both(first[data], second[data]) for data in first]
    if not all(a for a, _ in pairs):
        return Entry(DIFFERENCE, about, tuple(first))
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    figures = paired(before[0], after[0]) if len(pairs) == 1 else paired_over_sets(before, after)
    return Entry(
        DIFFERENCE, about, tuple(first), _seeds(after), figures, _names(found, after), less=_names(found, before)
    )


def together(found: Runs, data: str, runs: Sequence[RunResult], **about: Any) -> tuple[Entry, Entry]:
    """Several networks as one model, and what that gives over the mean of the same; one network is no ensemble."""
    if len(runs) < 2:
        return Entry(AS_ONE, about, (data,)), Entry(GAIN, about, (data,))
    one, gain = as_one(runs)
    shared = (about, (data,), _seeds([runs]))
    names = _names(found, [runs])
    return Entry(AS_ONE, *shared, one, names), Entry(GAIN, *shared, gain, names)


def corrected(entries: Sequence[Entry], metrics: Sequence[str] = METRICS) -> list[Entry]:
    """The differences of one table with a verdict on each metric, their p-values corrected for their number (Holm).

    Means over several data sets are corrected among themselves, and so are single sets: the means are the question, the
    sets tell where the answer is from. Fewer than all seeds get no verdict: they tell too little of their spread.
    """
    verdicts: list[dict[str, str]] = [{} for _ in entries]
    for metric in metrics:
        for is_mean in (True, False):
            family = [k for k, entry in enumerate(entries) if entry.seeds == SEEDS and (len(entry.sets) > 1) is is_mean]
            figures = [entries[k].figures[metric] for k in family]
            for k, figure, p in zip(family, figures, holm([figure.p for figure in figures]), strict=True):
                decided = p is not None and p < 1 - LEVEL
                verdicts[k][metric] = (AHEAD if figure.mean > 0 else BEHIND) if decided else UNDECIDED
    return [replace(entry, verdicts=each) for entry, each in zip(entries, verdicts, strict=True)]


def counts(entries: Sequence[Entry], metrics: Sequence[str] = METRICS) -> list[str]:
    """A sentence for each metric: how many differences were decided, and how."""
    said = []
    for metric in metrics:
        found = [entry.verdicts[metric] for entry in entries if metric in entry.verdicts]
        outcome = ", ".join(f"{found.count(word)} {word}" for word in (AHEAD, BEHIND, UNDECIDED) if word in found)
        said += [f"Of {len(found)} differences in {NAMES[metric]}: {outcome}."] if found else []
    return said


def number(value: float, sign: str = "", digits: int = 3) -> str:
    """A share without the 0 before its point."""
    return f"{value:{sign}.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:{sign}.{digits}f}"


def interval_words(figure: Estimate, sign: str = "") -> str:
    """A figure with its interval."""
    words = number(figure.mean, sign)
    if figure.low is None or figure.high is None:
        return words
    return f"{words} ({number(figure.low, sign)} to {number(figure.high, sign)})"


def seed_words(seeds: Sequence[int]) -> str:
    """How many seeds there are where not all are there."""
    return "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"


def _both(first: Sequence[RunResult], second: Sequence[RunResult]) -> tuple[list[RunResult], list[RunResult]]:
    a, b = ({run.entries["seed"]: run for run in runs} for runs in (first, second))
    seeds = sorted(a.keys() & b.keys())
    return [a[seed] for seed in seeds], [b[seed] for seed in seeds]


def _seeds(several: Sequence[Sequence[RunResult]]) -> tuple[int, ...]:
    """Those of the data set that has the fewest."""
    return min((tuple(sorted(run.entries["seed"] for run in runs)) for runs in several), key=len)


def _names(found: Runs, several: Sequence[Sequence[RunResult]]) -> tuple[str, ...]:
    return tuple(found.name(run) for runs in several for run in runs)
