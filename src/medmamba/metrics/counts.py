"""Figures that follow from counting right and wrong decisions, class by class.

Decisions and truths are tables of 0 and 1, (n, classes): one 1 a row where classes exclude each other, any number for
multi-label. That makes one set of formulas serve all tasks. Rows may be weighted; with weights (resamples, n) every
figure is computed for all resamples at once, which is what makes a bootstrap of everything affordable. A figure that
cannot be computed is NaN here, and becomes None before it leaves the package's `metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Counts:
    """True and false positives and negatives of each class against the rest, each (..., classes).

    `exclusive` says whether every image has exactly one class (all tasks but multi-label).
    """

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray
    exclusive: bool

    @property
    def positives(self) -> np.ndarray:
        """Images that are of the class, (..., classes)."""
        return self.tp + self.fn

    @property
    def total(self) -> np.ndarray:
        """Images, (..., classes), the same for every class."""
        return self.tp + self.fp + self.fn + self.tn


def one_hot(indices: np.ndarray, classes: int) -> np.ndarray:
    """Class indices (n,) as a table of 0.0 and 1.0, (n, classes)."""
    return (np.asarray(indices)[:, None] == np.arange(classes)).astype(np.float64)


def count(decided: np.ndarray, truth: np.ndarray, *, exclusive: bool, weights: np.ndarray | None = None) -> Counts:
    """Count decisions (n, classes) against truths (n, classes), both 0 or 1; weights (n,) or (resamples, n)."""
    decided, truth = decided.astype(np.float64), truth.astype(np.float64)
    weights = np.ones(len(truth)) if weights is None else weights.astype(np.float64)
    tp = weights @ (decided * truth)
    fp = weights @ decided - tp
    fn = weights @ truth - tp
    tn = weights.sum(axis=-1)[..., None] - tp - fp - fn
    return Counts(tp, fp, fn, tn, exclusive)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where `below` is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)


def sensitivity(counts: Counts) -> np.ndarray:
    """TP / (TP + FN), also called recall; NaN for a class without cases. (..., classes)."""
    return ratio(counts.tp, counts.positives)


def specificity(counts: Counts) -> np.ndarray:
    """TN / (TN + FP); NaN where every image is of the class. (..., classes)."""
    return ratio(counts.tn, counts.tn + counts.fp)


def precision(counts: Counts) -> np.ndarray:
    """TP / (TP + FP), the positive predictive value. (..., classes).

    A class that has cases but was never answered scores 0, as in scikit-learn; NaN where it has neither.
    """
    value = ratio(counts.tp, counts.tp + counts.fp)
    return np.where(np.isnan(value) & (counts.positives > 0), 0.0, value)


def npv(counts: Counts) -> np.ndarray:
    """TN / (TN + FN), the negative predictive value: the precision of "not this class". (..., classes).

    Where there are images of other classes and every image was given this one it is 0, as precision would be.
    """
    value = ratio(counts.tn, counts.tn + counts.fn)
    return np.where(np.isnan(value) & (counts.tn + counts.fp > 0), 0.0, value)


def f1(counts: Counts) -> np.ndarray:
    """2 TP / (2 TP + FP + FN); NaN for a class neither present nor answered. (..., classes)."""
    return ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def macro(values: np.ndarray, counts: Counts) -> np.ndarray:
    """Plain mean of per-class values (..., classes) over the classes that have cases. (...)."""
    counted = (counts.positives > 0) & ~np.isnan(values)
    return ratio(np.where(counted, values, 0.0).sum(axis=-1), counted.sum(axis=-1))


def weighted(values: np.ndarray, counts: Counts) -> np.ndarray:
    """Mean of per-class values (..., classes), each weighted by the number of its cases. (...)."""
    weights = np.where(np.isnan(values), 0.0, counts.positives)
    return ratio((np.nan_to_num(values) * weights).sum(axis=-1), weights.sum(axis=-1))


def accuracy(counts: Counts) -> np.ndarray:
    """Share of images decided rightly; multi-label: mean over labels of that share, as MedMNIST does. (...)."""
    if counts.exclusive:
        return ratio(counts.tp.sum(axis=-1), counts.total[..., 0])
    return ratio(counts.tp + counts.tn, counts.total).mean(axis=-1)


def balanced_accuracy(counts: Counts) -> np.ndarray:
    """Mean sensitivity over the classes present; multi-label: mean of (sensitivity + specificity) / 2. (...)."""
    if counts.exclusive:
        return macro(sensitivity(counts), counts)
    return macro((sensitivity(counts) + specificity(counts)) / 2, counts)


def mcc(counts: Counts) -> np.ndarray:
    """Matthews' correlation coefficient, -1 to 1, for any number of classes (Gorodkin 2004). (...).

    0 where decisions or truths are all of one class, as in scikit-learn. Multi-label: the mean over the labels that
    have images with and without them.
    """
    if not counts.exclusive:
        mixed = (counts.positives > 0) & (counts.positives < counts.total)
        top = counts.tp * counts.tn - counts.fp * counts.fn
        answered = counts.tp + counts.fp
        spread = answered * (counts.total - answered) * counts.positives * (counts.total - counts.positives)
        return macro(np.where(mixed, np.nan_to_num(ratio(top, np.sqrt(spread))), np.nan), counts)
    total, answered = counts.total[..., 0], counts.tp + counts.fp
    top = counts.tp.sum(axis=-1) * total - (answered * counts.positives).sum(axis=-1)
    spread = (total**2 - (answered**2).sum(axis=-1)) * (total**2 - (counts.positives**2).sum(axis=-1))
    return np.where(total > 0, np.nan_to_num(ratio(top, np.sqrt(spread))), np.nan)


def quadratic_kappa(decided: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Cohen's kappa with quadratic weights (Cohen 1968) of decisions and truths with one 1 a row, (n, classes). (...).

    1 minus the mean squared distance of the classes over that of independent decisions with the same margins; both
    follow from sums over rows, so that no table of classes by classes is made. NaN where all decisions and truths are
    of one class.
    """
    weights = np.ones(len(truth)) if weights is None else weights
    steps = np.arange(truth.shape[1], dtype=np.float64)
    given, true = decided @ steps, truth @ steps
    n = weights.sum(axis=-1)
    seen = n * (weights @ (given - true) ** 2)
    by_chance = n * (weights @ (given**2 + true**2)) - 2 * (weights @ given) * (weights @ true)
    return 1 - ratio(seen, by_chance)


def baseline(counts: Counts) -> np.ndarray:
    """Accuracy of always giving the most frequent answer of these very images (for each label). (...)."""
    if counts.exclusive:
        return ratio(counts.positives.max(axis=-1), counts.total[..., 0])
    return ratio(np.maximum(counts.positives, counts.total - counts.positives), counts.total).mean(axis=-1)
