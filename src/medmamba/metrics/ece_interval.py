"""The interval of an expected calibration error (ECE), by inverting a test.

The bootstrap fails here. An ECE is a mean of distances, so that noise makes it larger: that of few images lies above
the truth on average, and that of their resamples, noisier still, above their own. Turning the percentiles round the
value, or taking twice the bias from them, mends part of it only. So it is asked instead which true errors would give,
with simulated outcomes for these very confidences, an ECE like the one seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medmamba.metrics.calibration import Binning, confidences, ece, equal_width
from medmamba.metrics.intervals import Interval, units_and_strata
from medmamba.tasks import Task

STEPS = 25  # true errors that are tried
DRAWS = 1000


def ece_interval(
    task: Task,
    probabilities: np.ndarray,
    targets: np.ndarray,
    *,
    binning: Binning = equal_width,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Interval | None:
    """Interval of the true ECE, holding the one of these images.

    The gap of a bin is mean confidence less share right. True gaps are supposed to have the shape of those seen: all of
    them times one factor, and for the low end only those that stand out of the noise, since the others may be nothing
    else. The interval holds the true errors for which the ECE seen lies between the (1 - level) / 2 and (1 + level) / 2
    quantiles of simulated ones, and reaches up to the ECE seen where that is above.

    Args:
        task: Decides what a confidence is; see `calibration`.
        probabilities: (n, classes).
        targets: Class indices (n,), or for multi-label 0 and 1, (n, classes).
        binning: `equal_width` or `equal_mass`.
        groups: Patient of each image, (n,). A bin then has the noise of as many images as it has patients, as if the
            images of one patient were all right or all wrong: too wide where they are not that alike.
        seed: Of the simulated outcomes.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        (low, high) in [0, 1]; None with fewer than two images or patients, or where the ECE seen is 0, which is no
        shape to go by.
    """
    units = units_and_strata(targets, groups)[0]
    if units.max(initial=0) < 1:
        return None
    value = float(ece(task, probabilities, targets, binning=binning))
    if value < 1e-12:
        return None
    weight, gap, noise = _bins(task, probabilities, targets, units, binning, np.random.default_rng(seed))
    errors = np.linspace(0, value + float((np.abs(noise) @ weight).max()), STEPS)
    # twice its mean size: noise alone gets there in one bin of nine
    sure = np.where(np.abs(gap) > 2 * np.abs(noise).mean(axis=0), gap, 0.0)
    low = _error_at(value, (1 + level) / 2, errors, sure if sure.any() else gap, noise, weight)
    high = _error_at(value, (1 - level) / 2, errors, gap, noise, weight)
    return min(low, value), min(1.0, max(high, value))


def _bins(
    task: Task,
    probabilities: np.ndarray,
    targets: np.ndarray,
    units: np.ndarray,
    binning: Binning,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the bins that hold an image, of all columns: weight in the ECE, gap, and simulated noise of it, (DRAWS, bins).

    The noise is binomial, of the mean confidence or of the share right, whichever is noisier: a bin where all are right
    is not without noise, and neither is one of small confidence that often is.
    """
    rows = []
    for confidence, right in zip(*(table.T for table in confidences(task, probabilities, targets)), strict=True):
        which = binning(confidence)
        for k in np.unique(which):
            inside = which == k
            mean, share = confidence[inside].mean(), right[inside].mean()
            rate = np.clip(min(mean, share, key=lambda p: abs(p - 0.5)), 0, 1)  # a mean may round to above 1
            cases = len(np.unique(units[inside]))
            rows.append((inside.mean(), mean - share, rate - generator.binomial(cases, rate, DRAWS) / cases))
    weight, gap, noise = zip(*rows, strict=True)
    return np.array(weight) / sum(weight), np.array(gap), np.stack(noise, axis=1)


def _error_at(
    value: float, quantile: float, errors: np.ndarray, shape: np.ndarray, noise: np.ndarray, weight: np.ndarray
) -> float:
    """The true error, between two of those tried, at which this quantile of the simulated ECEs is the one seen."""
    gaps = np.outer(errors / (np.abs(shape) @ weight), shape)
    ends = [np.quantile(np.abs(noise + row) @ weight, quantile) for row in gaps]
    return float(np.interp(value, np.maximum.accumulate(ends), errors))  # they rise with the true error, but for chance
