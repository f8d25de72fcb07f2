"""Intervals: Wilson's for a proportion, and the percentile bootstrap for everything else.

The bootstrap resamples images within their class, or whole patients where they are known; its percentiles are expanded
for small samples, see `tails`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np

from medmamba.metrics.tails import expanded_tails, variance_by_stratum

Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
Interval = tuple[float, float]

_WEIGHTS_AT_ONCE = 2_000_000  # resamples x images in memory together: 16 MB, a few times over
_UNDEFINED_ALLOWED = 0.05  # a class of two patients is missing from 13 % of resamples, of three from 5 %


def normal_quantile(level: float) -> float:
    """How many standard errors an interval of this level reaches to each side: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(successes: float, trials: float, level: float = 0.95) -> Interval | None:
    """Score interval of a proportion (Wilson 1927), for independent trials.

    Args:
        successes: From 0 to `trials`; need not be whole.
        trials: Their number.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        (low, high) in [0, 1], never of width 0 and never without successes / trials; None without a trial.
    """
    if trials <= 0:
        return None
    share, z2 = float(successes / trials), normal_quantile(level) ** 2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    return float(min(share, max(0.0, middle - half))), float(max(share, min(1.0, middle + half)))


def repeat(groups: Sequence[str] | None) -> bool:
    """Whether some patient has several images, so that images are not independent of each other."""
    return groups is not None and len(set(groups)) < len(groups)


def units_and_strata(targets: np.ndarray, groups: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """What is drawn, and within which class.

    Args:
        targets: Class indices (n,), or for multi-label (n, classes), which has no strata.
        groups: Patient of each image, or None when each image stands for itself.

    Returns:
        The unit of each image, (n,), numbered from 0; and the stratum of each unit, (units,): its class. A patient with
        images of several classes counts for the rarest of them, so that resampling does not lose a rare class.
    """
    names = np.arange(len(targets)) if groups is None else np.asarray(groups, dtype=str)
    units = np.unique(names, return_inverse=True)[1]
    strata = np.zeros(units.max(initial=-1) + 1, dtype=np.int64)
    if targets.ndim == 1:
        rarity = np.argsort(np.argsort(-np.bincount(targets), kind="stable"))  # of each class, the rarest the highest
        np.maximum.at(strata, units, rarity[targets])
    return units, strata


def resample_weights(
    targets: np.ndarray, groups: Sequence[str] | None, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """How often each image is drawn in each resample, in portions of (some resamples, n), float64.

    Each stratum gives as many units as it has. The draws depend on the seed and on (targets, groups) alone, so that two
    models scored on the same images are resampled alike.
    """
    units, strata = units_and_strata(targets, groups)
    # a generator for each stratum, so that the size of a portion does not change the draws
    generators = {stratum: np.random.default_rng((seed, stratum)) for stratum in np.unique(strata)}
    portion = max(1, _WEIGHTS_AT_ONCE // max(1, len(targets)))
    for start in range(0, resamples, portion):
        rows = min(portion, resamples - start)
        drawn = np.zeros((rows, len(strata)))
        for stratum, generator in generators.items():
            members = np.flatnonzero(strata == stratum)
            size = len(members)
            draws = generator.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
            drawn[:, members] = np.bincount(draws.ravel(), minlength=rows * size).reshape(rows, size)
        yield drawn[:, units]


def bootstrap(
    statistic: Statistic,
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Interval | None]:
    """Percentile intervals of several figures at once, expanded for small samples (Hesterberg 2015; see `tails`).

    Args:
        statistic: Gives figures (resamples, figures) for (scores, targets, weights), where weights (resamples, n) say
            how often each image counts; NaN for a figure that cannot be computed in a resample.
        scores: Whatever `statistic` wants, (n, ...).
        targets: Class indices (n,): the strata. For multi-label (n, classes): drawn without strata.
        groups: Patient of each image; whole patients are drawn then, since images of one patient resemble each other.
        resamples: Number of draws.
        seed: The same seed gives the same intervals.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        For each figure (low, high), or None when no class has two units to draw from, or when the figure is undefined
        in more than one resample of twenty. A figure that is perfect in the sample gets an interval of width 0: what
        was never seen cannot be resampled.
    """
    if resamples < 1:
        raise ValueError(f"a bootstrap needs at least one resample, not {resamples}")
    middle = statistic(scores, targets, np.ones((1, len(targets))))
    units, strata = units_and_strata(targets, groups)
    if len(strata) == 0 or np.unique(strata, return_counts=True)[1].max() < 2:
        return [None] * middle.shape[1]
    first = np.unique(units, return_index=True)[1]  # an image of each unit
    portions, covariances = [], np.zeros((len(strata), middle.shape[1]))
    for weights in resample_weights(targets, groups, resamples, seed):
        portions.append(statistic(scores, targets, weights))
        covariances += (weights[:, first] - 1).T @ np.nan_to_num(portions[-1] - middle) / resamples
    figures = np.concatenate(portions)
    spread = np.nan_to_num(figures - middle).var(axis=0)
    tails = expanded_tails(level, *variance_by_stratum(covariances, spread, strata, resamples))
    return [_percentile_interval(column, tail) for column, tail in zip(figures.T, tails, strict=True)]


def _percentile_interval(values: np.ndarray, tail: float) -> Interval | None:
    known = values[~np.isnan(values)]
    if len(values) - len(known) > _UNDEFINED_ALLOWED * len(values) or len(known) == 0:
        return None
    # of k ordered resamples the i-th has i / (k + 1) below it on average (Efron and Tibshirani 1993, section 12.5)
    low, high = np.quantile(known, [tail, 1 - tail], method="weibull")
    return float(low), float(high)
