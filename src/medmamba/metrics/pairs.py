"""Two models on the same cases: is the second better than the first, and by how much?

Differences are the second model minus the first. Cases are shared, so that their difficulty cancels; the intervals of
each model alone would hide most differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np

from medmamba.metrics.delong import auc_interval, covariance, placements
from medmamba.metrics.intervals import Interval, bootstrap, normal_quantile, wilson

PairStatistic = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Difference:
    """What the second model does better, b minus a.

    Attributes:
        value: The difference; None where a figure cannot be computed.
        low: Lower end of its interval, or None.
        high: Upper end.
        p: Two-sided p-value of "there is no difference", where the method has one.
        method: How interval and p-value were made.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    method: str


def delong_test(scores_a: np.ndarray, scores_b: np.ndarray, truth: np.ndarray, level: float = 0.95) -> Difference:
    """Difference of two areas under the ROC curve on the same cases (DeLong, DeLong and Clarke-Pearson 1988).

    Args:
        scores_a: Of the first model, (n,), any scale.
        scores_b: Of the second, (n,).
        truth: (n,), 1 for positives, 0 for negatives.
        level: Of the interval.

    Returns:
        The difference, its interval and p-value; no interval and p-value with fewer than two positives or negatives.
        Two models that rank all cases alike differ by 0 for certain. Where the variance is 0 otherwise, as when both
        are perfect, the interval is put together from those of the two areas (Zou and Donner 2008).
    """
    method = "DeLong's test for correlated areas under the ROC curve"
    positives = int(np.count_nonzero(truth))
    if not 0 < positives < len(truth):
        return Difference(None, None, None, None, method)
    if min(positives, len(truth) - positives) < 2:
        area_a, area_b = (float(placements(scores, truth)[0].mean()) for scores in (scores_a, scores_b))
        return Difference(area_b - area_a, None, None, None, method)
    (area_a, area_b), spread = covariance([scores_a, scores_b], truth)
    value, variance = float(area_b - area_a), float(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1])
    if variance > 1e-15:  # less is rounding
        half = normal_quantile(level) * sqrt(variance)
        p = erfc(abs(value) / sqrt(2 * variance))
        return Difference(value, max(-1.0, value - half), min(1.0, value + half), p, method)
    if _rank_alike(scores_a, scores_b):
        return Difference(0.0, 0.0, 0.0, 1.0, method)
    alone = [auc_interval(scores, truth, level) for scores in (scores_a, scores_b)]
    low, high = _joined(value, (area_a, area_b), [interval for interval in alone if interval is not None], 0.0)
    return Difference(value, low, high, 1.0 if value == 0 else None, method)


def mcnemar(right_a: np.ndarray, right_b: np.ndarray, level: float = 0.95) -> Difference:
    """Difference of two shares of right answers on the same cases.

    The p-value is that of McNemar's test, exact: a binomial of the cases that only one model has right. The interval is
    that of Newcombe (1998, Statistics in Medicine 17:2635), method 10: from Wilson's interval of each share, joined
    with a continuity-corrected correlation.

    Args:
        right_a: Whether the first model is right, (n,), bool.
        right_b: Whether the second is.
        level: Of the interval.
    """
    method = "McNemar's exact test, Newcombe's interval for paired proportions (method 10)"
    right_a, right_b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    n = len(right_a)
    if n == 0:
        return Difference(None, None, None, None, method)
    both, neither = int((right_a & right_b).sum()), int((~right_a & ~right_b).sum())
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    p = exact_sign_test(only_a, only_b)
    shares = ((both + only_a) / n, (both + only_b) / n)
    alone = [interval for share in shares if (interval := wilson(share * n, n, level)) is not None]
    together: float = both * neither - only_a * only_b
    if together > 0:
        together = max(together - n / 2, 0)  # the continuity correction
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    value = (only_b - only_a) / n
    low, high = _joined(value, shares, alone, together / sqrt(margins) if margins else 0.0)
    return Difference(value, low, high, p, method)


def exact_sign_test(fewer: int, more: int) -> float:
    """Two-sided p-value of so uneven a split of fewer + more fair coins; the order of the two does not matter."""
    n, k = fewer + more, min(fewer, more)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])  # of factorials
    up_to = np.arange(k + 1)
    tail = np.exp(logs[n] - logs[up_to] - logs[n - up_to] - n * np.log(2)).sum()
    return float(min(1.0, 2 * tail))


def paired_bootstrap(
    statistic: PairStatistic,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    targets: np.ndarray,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Difference]:
    """Differences of any figures, both models resampled alike; no p-value: look whether the interval holds 0.

    Args:
        statistic: Gives differences (resamples, figures), b minus a, for (scores_a, scores_b, targets, weights), where
            weights (resamples, n) say how often each image counts; NaN where undefined.
        scores_a: Whatever `statistic` wants of the first model, (n, ...).
        scores_b: The same of the second.
        targets: Class indices (n,): the strata. For multi-label (n, classes): drawn without strata.
        groups: Patient of each image; whole patients are drawn then.
        resamples: Number of draws.
        seed: The same seed gives the same intervals.
        level: Of the intervals.

    Returns:
        For each figure its difference; without an interval where resamples say nothing: too little to draw from, often
        undefined, or the same in all of them.
    """

    def both(_: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return statistic(scores_a, scores_b, targets, weights)

    values = both(scores_a, targets, np.ones((1, len(targets))))[0]
    intervals: list[Interval | None] = [None] * len(values)
    if resamples:
        intervals = bootstrap(both, scores_a, targets, groups=groups, resamples=resamples, seed=seed, level=level)
    unit = "images" if groups is None else "patients"
    method = f"paired expanded percentile bootstrap, {unit} drawn with replacement" if resamples else "none"
    return [
        Difference(None, None, None, None, method)
        if np.isnan(value)
        else Difference(float(value), *_unless_constant(interval), None, method)
        for value, interval in zip(values, intervals, strict=True)
    ]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number (Holm 1979), in the order given; None stays None and is not counted."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[i] = highest
    return corrected


def _unless_constant(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None or interval[1] - interval[0] < 1e-12 else interval


def _rank_alike(scores_a: np.ndarray, scores_b: np.ndarray) -> bool:
    rank_a, rank_b = (np.unique(scores, return_inverse=True)[1] for scores in (scores_a, scores_b))
    return np.array_equal(rank_a, rank_b)


def _joined(
    value: float, values: Sequence[float], alone: Sequence[Interval], correlation: float
) -> tuple[float, float]:
    """Interval of b - a from those of a and b and their correlation: distances squared and added."""
    (a, b), (of_a, of_b) = values, alone

    def distance(x: float, y: float) -> float:
        return sqrt(max(0.0, x * x - 2 * correlation * x * y + y * y))

    low, high = value - distance(b - of_b[0], of_a[1] - a), value + distance(of_b[1] - b, a - of_a[0])
    return max(-1.0, low), min(1.0, high)
