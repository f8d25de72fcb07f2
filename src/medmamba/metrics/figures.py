"""All figures of a model at once, each with its interval: one pass over the resamples for everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medmamba.metrics import counts as counting
from medmamba.metrics.classification import as_table, number
from medmamba.metrics.counts import Counts
from medmamba.metrics.intervals import Interval, bootstrap, units_and_strata
from medmamba.metrics.ranking import mean_auc, rank_aucs
from medmamba.tasks import Task

LEVEL = 0.95
RATES = {
    "precision": counting.precision,
    "sensitivity": counting.sensitivity,
    "specificity": counting.specificity,
    "f1": counting.f1,
}
OVERALL = {"accuracy": counting.accuracy, "balanced_accuracy": counting.balanced_accuracy, "mcc": counting.mcc}


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
        resamples: Bootstrap draws; 0 leaves the intervals out.
        seed: Of the bootstrap.
    """
    decided, truth = as_table(decisions, scores.shape[1]), as_table(targets, scores.shape[1])

    def figures(weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        counts = counting.count(decided, truth, exclusive=targets.ndim == 1, weights=weights)
        return _figures(task, counts, rank_aucs(scores, truth, weights), positive)

    def statistic(_scores: np.ndarray, _targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.concatenate(list(figures(weights).values()), axis=-1)

    values = figures()
    intervals: list[Interval | None] = [None] * sum(len(several) for several in values.values())
    if resamples:
        intervals = bootstrap(statistic, scores, targets, groups=groups, resamples=resamples, seed=seed, level=LEVEL)
    return _drop_lone(_with_intervals(values, intervals), truth, units_and_strata(targets, groups)[0])


def _figures(task: Task, counts: Counts, aucs: np.ndarray, positive: int) -> dict[str, np.ndarray]:
    """Every figure by name, (..., 1), or (..., classes) for those of each class; NaN where undefined."""
    rates = {name: rate(counts) for name, rate in RATES.items()}
    overall = {name: figure(counts) for name, figure in OVERALL.items()}
    overall["auc"] = aucs[..., positive] if task is Task.BINARY else mean_auc(aucs)
    overall |= {f"macro {name}": counting.macro(values, counts) for name, values in rates.items()}
    overall |= {f"weighted {name}": counting.weighted(values, counts) for name, values in rates.items()}
    per_class = {f"each {name}": values for name, values in (rates | {"auc": aucs}).items()}
    return {name: np.asarray(values)[..., None] for name, values in overall.items()} | per_class


def _with_intervals(values: dict[str, np.ndarray], intervals: list[Interval | None]) -> dict[str, Any]:
    """A figure for each name, or a list of figures for those of each class, in the order of `values`."""
    rest = iter(intervals)
    figures: dict[str, Any] = {}
    for name, several in values.items():
        row = [_figure(number(value), next(rest)) for value in several]
        figures[name] = row if name.startswith("each ") else row[0]
    return figures


def _drop_lone(figures: dict[str, Any], truth: np.ndarray, units: np.ndarray) -> dict[str, Any]:
    """Take the intervals from classes of a single image or patient: one case says nothing about how cases vary."""
    lone = [len(np.unique(units[column > 0])) < 2 for column in truth.T]
    for name in ("precision", "sensitivity", "f1", "auc"):
        several = figures[f"each {name}"]
        figures[f"each {name}"] = [
            _figure(old["value"], None) if alone else old for old, alone in zip(several, lone, strict=True)
        ]
    return figures


def _figure(value: float | None, interval: Interval | None) -> dict[str, float | None]:
    low, high = interval if interval is not None and value is not None else (None, None)
    return {"value": value, "low": low, "high": high}
