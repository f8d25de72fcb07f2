"""The area under the ROC curve with its variance (DeLong, DeLong and Clarke-Pearson 1988).

The placements come from midranks, found by sorting as in Sun and Xu (2014): O(n log n) where the paper's sums are over
all pairs of a positive and a negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt

import numpy as np

from medmamba.metrics.intervals import Interval, normal_quantile, wilson


def placements(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each positive the share of negatives below it, of each negative the share of positives above it.

    Args:
        scores: (n,), any scale, finite.
        truth: (n,), 1 for positives, 0 for negatives; both must occur.

    Returns:
        Two arrays, (positives,) and (negatives,), in [0, 1], ties counting half. The mean of either is the area.
    """
    positive = np.asarray(truth).astype(bool)
    high, low = scores[positive], scores[~positive]
    return _midrank(high, low) / len(low), 1 - _midrank(low, high) / len(high)


def covariance(models: Sequence[np.ndarray], truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas of several models scored on the same cases, and how they vary together.

    Args:
        models: The scores of each model, (n,).
        truth: (n,), 1 for positives, 0 for negatives; at least two of each.

    Returns:
        Areas, (models,), and their covariance, (models, models).
    """
    pairs = [placements(scores, truth) for scores in models]
    of_positives, of_negatives = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    spread = np.cov(of_positives) / of_positives.shape[1] + np.cov(of_negatives) / of_negatives.shape[1]
    return of_positives.mean(axis=1), np.reshape(spread, (len(pairs), len(pairs)))


def auc_interval(scores: np.ndarray, truth: np.ndarray, level: float = 0.95) -> Interval | None:
    """Interval of the area under a ROC curve, within [0, 1]: DeLong's variance, taken to the logit of the area.

    Where the variance is 0, as when all positives score above all negatives, it is Wilson's interval of a proportion
    seen in min(positives, negatives) cases: what was never seen wrong may still be wrong sometimes.

    Args:
        scores: (n,), any scale, finite.
        truth: (n,), 1 for positives, 0 for negatives.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        (low, high), or None with fewer than two positives or two negatives: one case says nothing about how cases vary.
    """
    positives = int(np.count_nonzero(truth))
    fewer = min(positives, len(truth) - positives)
    if fewer < 2:
        return None
    areas, spread = covariance([scores], truth)
    area, variance = float(areas[0]), float(spread[0, 0])
    if variance <= 0 or not 0 < area < 1:
        return wilson(area * fewer, fewer, level)
    middle, half = log(area / (1 - area)), normal_quantile(level) * sqrt(variance) / (area * (1 - area))
    return _logistic(middle - half), _logistic(middle + half)


def _midrank(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """How many of `among` are below each value, ties counting half."""
    among = np.sort(among)
    return (np.searchsorted(among, values, side="left") + np.searchsorted(among, values, side="right")) / 2


def _logistic(x: float) -> float:
    return 1 / (1 + exp(-x)) if x > 0 else exp(x) / (1 + exp(x))  # the exponential of a large number would overflow
