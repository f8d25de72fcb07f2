"""Whether probabilities mean what they say: of the answers given with 80 % confidence, are 80 % right?

All figures take probabilities (n, classes) and targets, class indices (n,) or for multi-label 0 and 1, (n, classes);
with weights (resamples, n) they are computed for all resamples at once.

The *confidence* of an image is the probability of its most probable class, which no threshold changes; the answer is
right if that is the class. In multi-label tasks each label's probability is a confidence of its own, right if the label
is there, and figures are means over labels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medmamba.metrics.classification import as_table
from medmamba.metrics.counts import ratio
from medmamba.tasks import Task

BINS = 15
SMALLEST = 1e-12  # a probability of 0 for what happened would make the mean infinite

Binning = Callable[[np.ndarray], np.ndarray]


def nll(task: Task, probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Negative log-likelihood: mean of -log of the true class's probability; natural logarithm, from 0 up. (...).

    Multi-label: mean over images and labels of the binary cross-entropy. Probabilities below 1e-12 count as that.
    """
    if task is Task.MULTILABEL:
        happened = np.where(targets > 0, probabilities, 1 - probabilities)
    else:
        happened = probabilities[np.arange(len(targets)), targets][:, None]
    return _mean(-np.log(np.maximum(happened, SMALLEST)).mean(axis=1), weights)


def brier(task: Task, probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Brier score: squared distance of the probabilities from what was true (Brier 1950). (...).

    Summed over classes, as Brier defined it, so that it lies in [0, 2] and is for two classes twice the form that looks
    at one of them. Multi-label: mean over labels, in [0, 1].
    """
    squares = (probabilities - as_table(targets, probabilities.shape[1])) ** 2
    return _mean(squares.mean(axis=1) if task is Task.MULTILABEL else squares.sum(axis=1), weights)


def confidences(task: Task, probabilities: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidences and whether they were right (0.0 or 1.0), each (n, 1), or for multi-label (n, labels)."""
    if task is Task.MULTILABEL:
        return probabilities, targets.astype(np.float64)
    answers = probabilities.argmax(axis=1)
    return probabilities[np.arange(len(answers)), answers][:, None], (answers == targets).astype(np.float64)[:, None]


def equal_width(confidence: np.ndarray) -> np.ndarray:
    """Bin of each confidence (n,), int: 15 of equal width, [0, 1/15) to [14/15, 1]."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def equal_mass(confidence: np.ndarray) -> np.ndarray:
    """Bin of each confidence (n,), int: 15 of as many images as ties allow; equal confidences share a bin."""
    if len(confidence) == 0:
        return np.zeros(0, dtype=np.int64)
    edges = np.quantile(confidence, np.arange(1, BINS) / BINS)
    return np.searchsorted(edges, confidence, side="right")


def ece(
    task: Task,
    probabilities: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    binning: Binning = equal_width,
) -> np.ndarray:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017), 0 to 1. (...).

    Mean over images of the distance, in the image's bin, between mean confidence and share right. It is never negative,
    so that chance alone makes it positive, the more so the fewer the images: see `expected_ece`.

    Args:
        task: Decides what a confidence is; see the module's description.
        probabilities: (n, classes).
        targets: Class indices (n,), or 0 and 1, (n, classes).
        weights: How often each image counts, (n,) or (resamples, n). Bins are those of the images themselves.
        binning: `equal_width` or `equal_mass`.
    """
    confidence, right = confidences(task, probabilities, targets)
    weights = np.ones(len(targets)) if weights is None else weights
    columns = [gap(binning(c), c - r, weights) for c, r in zip(confidence.T, right.T, strict=True)]
    return np.mean(columns, axis=0)


def slope_intercept(probability: np.ndarray, truth: np.ndarray) -> tuple[float, float] | None:
    """Calibration slope and intercept of a two-class model (Cox 1958), by Newton's method.

    The logistic regression of what was true on the logit of what was said: 1 and 0 for a calibrated model; a slope
    below 1 means probabilities that are too extreme, an intercept below 0 positives that are announced too often.

    Args:
        probability: Of the positive class, (n,).
        truth: (n,), 1 for positives, 0 for negatives.

    Returns:
        (slope, intercept); None with one class only, equal probabilities or classes that are separated perfectly, where
        there is no finite answer.
    """
    x = logit(probability)
    if len(x) == 0 or not 0 < np.mean(truth > 0) < 1 or np.ptp(x) == 0:
        return None
    design = np.column_stack([x, np.ones_like(x)])
    beta = np.array([0.0, logit(np.mean(truth > 0, keepdims=True))[0]])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -500, 500)))
        information = design.T @ (design * (p * (1 - p))[:, None])
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (truth - p))
        beta += step * min(1.0, 5 / np.abs(step).max())  # a long step may leave the region where it converges
        if np.abs(step).max() < 1e-10:
            return float(beta[0]), float(beta[1])
    return None


def logit(probability: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), with probabilities held 1e-12 away from 0 and 1."""
    held = np.clip(probability, SMALLEST, 1 - SMALLEST)
    return np.log(held) - np.log1p(-held)


def _mean(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    weights = np.ones(len(values)) if weights is None else weights
    return ratio(weights @ values, weights.sum(axis=-1))


def gap(which: np.ndarray, surplus: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum over bins of |surplus of confidence in the bin|, over the sum of weights. (...)."""
    if weights.ndim == 1:
        inside = np.bincount(which, weights * surplus, minlength=1)
    else:
        inside = weights @ ((which[:, None] == np.arange(which.max(initial=0) + 1)) * surplus[:, None])
    return ratio(np.abs(inside).sum(axis=-1), weights.sum(axis=-1))
