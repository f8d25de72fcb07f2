"""All figures of a model at once, each with its interval, and which interval that is.

Independent images: Wilson's interval for proportions, DeLong's for areas under the ROC curve of one class. For all
else, and for everything where a patient has several images: the bootstrap, one pass over the resamples for all figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medmamba.metrics import counts as counting
from medmamba.metrics.classification import as_table, number
from medmamba.metrics.counts import Counts
from medmamba.metrics.delong import auc_interval
from medmamba.metrics.figures import RATES, figures
from medmamba.metrics.intervals import Interval, bootstrap, repeat, units_and_strata, wilson
from medmamba.tasks import Task

LEVEL = 0.95
WILSON, DELONG, BOOTSTRAP = "Wilson", "DeLong", "bootstrap"
Intervals = dict[str, list[Interval | None]]

_NO_SHARE = ("mcc", "quadratic_kappa")  # figures for which the bound of a proportion means nothing


def estimate(
    task: Task,
    scores: np.ndarray,
    decisions: np.ndarray,
    targets: np.ndarray,
    *,
    positive: int,
    groups: Sequence[str] | None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Every figure, `{"value", "low", "high"}`, by name; a list of them, one a class, under the names `each ...`.

    Args:
        task: Decides which AUC stands for the model.
        scores: Probabilities, (n, classes).
        decisions: What was made of them, (n,), or for multi-label (n, classes).
        targets: Of the same shape as `decisions`.
        positive: Index of the positive class of a binary task.
        groups: Patient of each image, or None.
        resamples: Bootstrap draws; 0 leaves out the intervals that need them.
        seed: Of the bootstrap.
    """
    decided, truth = as_table(decisions, scores.shape[1]), as_table(targets, scores.shape[1])

    def statistic(_scores: np.ndarray, _targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        by_name = figures(task, scores, decided, truth, positive=positive, weights=weights)
        return np.concatenate(list(by_name.values()), axis=-1)

    values = figures(task, scores, decided, truth, positive=positive)
    units = units_and_strata(targets, groups)[0]
    intervals: Intervals = {name: [None] * len(several) for name, several in values.items()}
    if resamples:
        rest = iter(bootstrap(statistic, scores, targets, groups=groups, resamples=resamples, seed=seed, level=LEVEL))
        intervals = {name: [next(rest) for _ in several] for name, several in values.items()}
        intervals = _without_width_zero(intervals, values, truth, units)
    intervals = _without_lone(intervals, truth, units)
    if not repeat(groups):
        counts = counting.count(decided, truth, exclusive=task is not Task.MULTILABEL)
        intervals |= _closed(task, counts, scores, truth, positive)
    found = {
        name: [_figure(number(value), interval) for value, interval in zip(several, intervals[name], strict=True)]
        for name, several in values.items()
    }
    return {name: several if name.startswith("each ") else several[0] for name, several in found.items()}


def methods(task: Task, groups: Sequence[str] | None, resamples: int) -> dict[str, Any]:
    """How the interval of each figure is made, by name: `Wilson`, `DeLong`, `bootstrap`, or None for no interval."""
    drawn = BOOTSTRAP if resamples else None
    share, area = (drawn, drawn) if repeat(groups) else (WILSON, DELONG)
    overall = {
        "accuracy": drawn if task is Task.MULTILABEL else share,
        "balanced_accuracy": drawn,
        "mcc": drawn,
        **({"quadratic_kappa": drawn} if task is Task.ORDINAL else {}),
        "auc": area if task is Task.BINARY else drawn,
        "macro": drawn,
        "weighted": drawn,
    }
    rates = {name: drawn if name == "f1" else share for name in RATES}
    return overall | {"per_class": {**rates, "auc": area}}


def _closed(task: Task, counts: Counts, scores: np.ndarray, truth: np.ndarray, positive: int) -> Intervals:
    """The intervals that follow from a formula where images are independent of each other."""
    proportions = {
        "precision": (counts.tp, counts.tp + counts.fp),
        "npv": (counts.tn, counts.tn + counts.fn),
        "sensitivity": (counts.tp, counts.tp + counts.fn),
        "specificity": (counts.tn, counts.tn + counts.fp),
    }
    intervals: Intervals = {
        f"each {name}": [wilson(*pair, level=LEVEL) for pair in zip(*cells, strict=True)]
        for name, cells in proportions.items()
    }
    intervals["each auc"] = [auc_interval(scores[:, k], truth[:, k], LEVEL) for k in range(truth.shape[1])]
    if counts.exclusive:
        intervals["accuracy"] = [wilson(counts.tp.sum(), counts.total[0], LEVEL)]
    if task is Task.BINARY:
        intervals["auc"] = [intervals["each auc"][positive]]
    return intervals


def _without_width_zero(
    intervals: Intervals, values: dict[str, np.ndarray], truth: np.ndarray, units: np.ndarray
) -> Intervals:
    """Replace intervals of figures that were the same in every resample: what was never seen cannot be resampled.

    A share of 0 or 1 gets Wilson's interval for as many units as the rarer side has (with and without the class, of the
    rarest class for averages); other figures get none.
    """
    rarer = [_fewer_units(column, units) for column in truth.T]
    present = [fewer for fewer, column in zip(rarer, truth.T, strict=True) if column.any()]
    whole = {"accuracy": len(np.unique(units))}

    def mended(name: str, k: int, interval: Interval | None) -> Interval | None:
        value = number(values[name][k])
        if interval is None or value is None or interval[1] - interval[0] > 1e-12:
            return interval
        if name in _NO_SHARE or value not in (0.0, 1.0):
            return None
        cases = rarer[k] if name.startswith("each ") else whole.get(name, min(present, default=0))
        return wilson(value * cases, cases, LEVEL)

    return {name: [mended(name, k, interval) for k, interval in enumerate(row)] for name, row in intervals.items()}


def _fewer_units(column: np.ndarray, units: np.ndarray) -> int:
    """Images or patients with the class or without it, whichever are fewer; all of them where there is but one kind."""
    sides = [len(np.unique(units[side])) for side in (column > 0, column == 0)]
    return min((side for side in sides if side), default=0)


def _without_lone(intervals: Intervals, truth: np.ndarray, units: np.ndarray) -> Intervals:
    """Take the bootstrap from classes of a single image or patient: one case says nothing about how cases vary."""
    lone = [len(np.unique(units[column > 0])) < 2 for column in truth.T]
    names = [f"each {name}" for name in ("precision", "sensitivity", "f1", "auc")]
    return intervals | {
        name: [None if alone else interval for interval, alone in zip(intervals[name], lone, strict=True)]
        for name in names
    }


def _figure(value: float | None, interval: Interval | None) -> dict[str, float | None]:
    low, high = interval if interval is not None and value is not None else (None, None)
    return {"value": value, "low": low, "high": high}
