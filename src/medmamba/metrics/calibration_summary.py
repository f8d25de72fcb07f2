"""Calibration with what a reader needs to judge it: intervals, what chance alone gives, and the reliability diagram."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medmamba.metrics.calibration import (
    Binning,
    brier,
    confidences,
    ece,
    equal_mass,
    equal_width,
    gap,
    nll,
    slope_intercept,
)
from medmamba.metrics.classification import number
from medmamba.metrics.ece_interval import ece_interval
from medmamba.metrics.intervals import Interval, bootstrap, wilson
from medmamba.tasks import Task

DRAWS = 200
Figure = Callable[[Task, np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
DEFINITIONS = {
    "nll": "negative log-likelihood: mean of -log of the true class's probability (multi-label: over labels of the "
    "binary cross-entropy)",
    "brier": "Brier score: squared distance of the probabilities from the truth, summed over classes (multi-label: "
    "mean over labels)",
    "ece": "expected calibration error: mean distance of confidence and share right in 15 bins of equal width; the "
    "confidence is the probability of the most probable class (multi-label: of each label, and the mean over labels)",
    "ece_equal_mass": "the same in 15 bins of equally many images",
}


def summarise_calibration(
    task: Task,
    probabilities: np.ndarray,
    targets: np.ndarray,
    *,
    positive: int = 1,
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """All that is reported about a model's probabilities on one split, ready for JSON.

    Args:
        task: What was asked.
        probabilities: (n, classes).
        targets: Class indices (n,); for multi-label 0 or 1, (n, classes).
        positive: Index of the positive class of a binary task.
        groups: Patient of each image, (n,); whole patients are resampled then.
        resamples: Bootstrap draws; 0 leaves the intervals out, those of `ece_interval` too.
        seed: Of the bootstrap and of all that is simulated.

    Returns:
        `nll`, `brier`, `ece`, `ece_equal_mass`: figures (`value`, `low`, `high`, `definition`), the last two with
        `by_chance`, what `expected_ece` says; `slope` and `intercept` (`slope_intercept`, of the positive class, None
        for other tasks); `bins` of `reliability`, for multi-label of images and labels together. None for what cannot
        be computed, never NaN.
    """
    of: dict[str, Figure] = {"nll": nll, "brier": brier}
    binnings: dict[str, Binning] = {"ece": equal_width, "ece_equal_mass": equal_mass}

    def statistic(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.stack([figure(task, scores, targets, weights) for figure in of.values()], axis=-1)

    intervals: dict[str, Interval | None] = dict.fromkeys((*of, *binnings))
    if resamples:
        found = bootstrap(statistic, probabilities, targets, groups=groups, resamples=resamples, seed=seed)
        intervals |= dict(zip(of, found, strict=True)) | {
            name: ece_interval(task, probabilities, targets, binning=binning, groups=groups, seed=seed)
            for name, binning in binnings.items()
        }
    values = {name: figure(task, probabilities, targets, None) for name, figure in of.items()} | {
        name: ece(task, probabilities, targets, binning=binning) for name, binning in binnings.items()
    }
    figures: dict[str, Any] = {}
    for name, value in values.items():
        low, high = intervals[name] or (None, None)
        figures[name] = {"value": number(value), "low": low, "high": high, "definition": DEFINITIONS[name]}
    for name, binning in binnings.items():
        mean, high = expected_ece(task, probabilities, binning=binning, seed=seed) or (None, None)
        figures[name]["by_chance"] = {"mean": mean, "high": high}
    line = slope_intercept(probabilities[:, positive], targets == positive) if task is Task.BINARY else None
    confidence, right = confidences(task, probabilities, targets)
    return figures | {
        "slope": line and line[0],
        "intercept": line and line[1],
        "bins": reliability(confidence.ravel(), right.ravel()),
    }


def expected_ece(
    task: Task, probabilities: np.ndarray, *, binning: Binning = equal_width, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float] | None:
    """ECE that a perfectly calibrated model with these very confidences would show, by chance alone.

    Outcomes are drawn from the confidences, as if images were independent. An ECE up to the second number is no
    evidence of a fault.

    Returns:
        The mean and the 97.5 % quantile over the draws; None without images.
    """
    if len(probabilities) == 0:
        return None
    generator = np.random.default_rng(seed)
    confidence = probabilities if task is Task.MULTILABEL else probabilities.max(axis=1)[:, None]
    bins = [binning(column) for column in confidence.T]
    once = np.ones(len(confidence))
    found = []
    for _ in range(draws):
        right = generator.random(confidence.shape) < confidence
        gaps = [gap(which, c - r, once) for which, c, r in zip(bins, confidence.T, right.T, strict=True)]
        found.append(np.mean(gaps))
    return float(np.mean(found)), float(np.quantile(found, 0.975))


def reliability(
    confidence: np.ndarray, right: np.ndarray, *, binning: Binning = equal_width, level: float = 0.95
) -> list[dict[str, Any]]:
    """What a reliability diagram shows: the bins that hold an image, from low to high confidence.

    Args:
        confidence: (n,), a column of what `confidences` gives.
        right: (n,), 0 or 1.
        binning: `equal_width` or `equal_mass`.
        level: Of the intervals.

    Returns:
        For each bin `n`, `confidence` (mean), `right` (share), and `low` and `high`, Wilson's interval of that share,
        which supposes that images are independent.
    """
    which = binning(confidence)
    rows = []
    for k in np.unique(which):
        inside = which == k
        n, hits = int(inside.sum()), float(right[inside].sum())
        low, high = wilson(hits, n, level) or (None, None)
        mean = float(confidence[inside].mean())
        rows.append({"n": n, "confidence": mean, "right": hits / n, "low": low, "high": high})
    return rows
