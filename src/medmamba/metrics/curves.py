"""ROC and precision-recall curves with bands, ready for JSON and for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medmamba.metrics.classification import as_table
from medmamba.metrics.intervals import bootstrap

STEPS = 50  # of a band: at 0, 1/50, ... 1 of what lies along
MOST = 20  # classes that get bands; more could not be told apart
DRAWS = 1000  # at most: a band is looked at, and costs as much for each class
_ROUNDING = 1e-9  # of shares of counts

Band = list[list[float]]


def class_curves(
    scores: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The curves of each class against the rest.

    Args:
        scores: Probabilities, (n, classes).
        targets: Class indices (n,); for multi-label 0 or 1, (n, classes).
        classes: Names, in the order of the columns.
        groups: Patient of each image, (n,); whole patients are resampled then.
        resamples: Bootstrap draws, of which `DRAWS` at most are made; 0 for no bands, as for more than `MOST` classes.
        seed: Of the bootstrap.

    Returns:
        `level`, `resamples` (those that were made), `seed`, `unit`; and `classes`, a row each: `name`, `n`, `share` (of
        the images, the precision of chance), `roc` and `precision_recall`, each None for a class that has no image, or
        no other; else `points` (see `_points`) and `band`: `[x, low, high]`, the pointwise 95 % percentile interval of
        sensitivity at a false positive rate and of precision at a recall; empty where there is none. And
        `average_precision`, a figure: mean precision over the steps of the recall (no interpolation).
    """
    truth = as_table(targets, len(classes)).astype(bool)
    resamples = min(resamples, DRAWS)
    known = [k for k in range(len(classes)) if 0 < truth[:, k].sum() < len(truth)]
    ends: dict[int, list[Any]] = {k: [None] * (2 * STEPS + 3) for k in known}
    for k in known if resamples and len(known) <= MOST else ():
        ends[k] = bootstrap(_of_class(k), scores, targets, groups=groups, resamples=resamples, seed=seed)
    return {
        "level": 0.95,
        "resamples": resamples,
        "seed": seed,
        "unit": "image" if groups is None else "patient",
        "classes": [_row(name, scores[:, k], truth[:, k], ends.get(k)) for k, name in enumerate(classes)],
    }


def _row(name: str, scores: np.ndarray, truth: np.ndarray, ends: list[Any] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "n": int(truth.sum()), "share": float(truth.mean()) if len(truth) else None}
    if ends is None:
        nothing = {"value": None, "low": None, "high": None}
        return row | {"roc": None, "precision_recall": None, "average_precision": nothing}
    low, high = ends[-1] or (None, None)
    value = float(average_precision(*_cumulated(scores, truth, np.ones((1, len(truth)))))[0])
    rates, grid = ends[: STEPS + 1], np.linspace(0, 1, STEPS + 1)
    precisions = ends[STEPS + 1 : -1]
    points = _points(scores, truth)
    return row | {
        "roc": {"points": points["roc"], "band": _band(grid, rates)},
        "precision_recall": {"points": points["precision_recall"], "band": _band(grid, precisions)},
        "average_precision": {"value": value, "low": low, "high": high},
    }


def _of_class(k: int) -> Any:
    """What is resampled of class k, for `bootstrap`: (resamples, 2 * (STEPS + 1) + 1)."""

    def statistic(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        truth = (targets[:, k] if targets.ndim == 2 else targets == k).astype(bool)
        grid = np.linspace(0, 1, STEPS + 1)
        both = _cumulated(scores[:, k], truth, weights)
        columns = [sensitivity_at(*both, grid), precision_at(*both, grid), average_precision(*both)[:, None]]
        return np.concatenate(columns, axis=1)

    return statistic


def sensitivity_at(hits: np.ndarray, alarms: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Greatest sensitivity of ROC curves at false positive rates; ties make slopes, along which it is read.

    Args:
        hits: Positives answered yes from each threshold on, strictest first, from 0 on, (curves, thresholds + 1).
        alarms: Negatives answered yes, the same.
        rates: (steps,) in [0, 1].

    Returns:
        (curves, steps); NaN where there are no positives or no negatives.
    """
    shares = zip(_shares(hits), _shares(alarms), strict=True)
    found = np.stack([np.interp(rates, alarm, hit) for hit, alarm in shares])
    return np.where((hits[:, -1:] > 0) & (alarms[:, -1:] > 0), found, np.nan)


def precision_at(hits: np.ndarray, alarms: np.ndarray, recalls: np.ndarray) -> np.ndarray:
    """Precision at the strictest threshold that reaches each recall (no interpolation: Davis and Goadrich 2006).

    Arguments and shapes are those of `sensitivity_at`; at a recall of 0 it is that of the first hit.
    """
    wanted = np.maximum(recalls * hits[:, -1:], 1) - _ROUNDING
    rows = [np.searchsorted(hit, want) for hit, want in zip(hits, wanted, strict=True)]
    places = np.minimum(np.stack(rows), hits.shape[1] - 1)
    found = np.take_along_axis(hits, places, axis=1)
    said = found + np.take_along_axis(alarms, places, axis=1)
    return np.where(hits[:, -1:] > 0, found / np.maximum(said, 1), np.nan)


def average_precision(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """Sum over thresholds of precision times the rise of recall, (curves,); arguments as above."""
    precision = hits / np.maximum(hits + alarms, 1)
    return np.asarray((np.diff(_shares(hits), axis=1) * precision[:, 1:]).sum(axis=1))


def _cumulated(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives answered yes from each threshold on, strictest first: (resamples, thresholds + 1)."""
    order, last = _order(scores)
    start = np.zeros((len(weights), 1))
    both = (np.cumsum(np.where(kind, weights, 0)[:, order], axis=1)[:, last] for kind in (truth, ~truth))
    hits, alarms = (np.concatenate([start, counts], axis=1) for counts in both)
    return hits, alarms


def _order(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows from the highest score to the lowest, and the last of each tie among them."""
    order = np.argsort(-scores, kind="stable")
    return order, np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))


def _shares(counts: np.ndarray) -> np.ndarray:
    """Of the last column; NaN where that is 0."""
    return np.divide(counts, counts[:, -1:], out=np.full(counts.shape, np.nan), where=counts[:, -1:] > 0)


def _points(scores: np.ndarray, truth: np.ndarray) -> dict[str, list[list[float | None]]]:
    """Corners of both curves, strictest threshold first: `[x, y, threshold]`.

    x and y are false positive rate and sensitivity, from (0, 0), whose threshold is None, to (1, 1); or recall and
    precision. A point in the middle of a straight part of the ROC curve is left out, and of precision and recall those
    from which nothing new is found.
    """
    hits, alarms = (counts[0] for counts in _cumulated(scores, truth, np.ones((1, len(truth)))))
    order, last = _order(scores)
    thresholds = [None, *scores[order][last].tolist()]
    steps = np.stack([np.diff(alarms), np.diff(hits)])
    turns = steps[0, 1:] * steps[1, :-1] != steps[1, 1:] * steps[0, :-1]
    roc = [0, *(np.flatnonzero(turns) + 1).tolist(), len(hits) - 1]
    found = (np.flatnonzero(np.diff(hits)) + 1).tolist()
    rates, recalls, precisions = alarms / alarms[-1], hits / hits[-1], hits / np.maximum(hits + alarms, 1)
    return {
        "roc": [[float(rates[i]), float(recalls[i]), thresholds[i]] for i in roc],
        "precision_recall": [[float(recalls[i]), float(precisions[i]), thresholds[i]] for i in found],
    }


def _band(grid: np.ndarray, ends: list[Any]) -> Band:
    return [[float(x), *end] for x, end in zip(grid, ends, strict=True) if end is not None]
