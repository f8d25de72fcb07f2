"""The interval of an expected calibration error (ECE), by inverting a test.

The bootstrap fails here. An ECE is a mean of distances, so that noise makes it larger, never smaller: that of few images
lies above the truth, and that of their resamples, noisier still, above their own. Turning the percentiles round or
taking the bias from them mends half of it. So it is asked instead which true errors would give, among simulated
outcomes for these very confidences, an ECE as small or as large as the one seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medmamba.metrics.calibration import Binning, confidences, ece, equal_width
from medmamba.metrics.intervals import Interval, units_and_strata
from medmamba.tasks import Task

STEPS = 40  # true errors that are tried
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

    A bin's gap is the distance of mean confidence and share right. True gaps are supposed to be those seen, all times
    one factor; the interval holds the errors for which the ECE seen lies between the (1 - level) / 2 and
    (1 + level) / 2 quantiles of simulated ones. Where it lies below them all only the ends at 0 and at itself are left.

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
        (low, high) in [0, 1]; None with fewer than two images or patients, or where confidences are all 0 or 1 and
        right, so that no error can be told.
    """
    units = units_and_strata(targets, groups)[0]
    if units.max(initial=0) < 1:
        return None
    value = float(ece(task, probabilities, targets, binning=binning))
    weight, gap, noise = _bins(task, probabilities, targets, units, binning, np.random.default_rng(seed))
    errors = np.linspace(0, value + float((np.abs(noise) @ weight).max()), STEPS)
    if errors[-1] == 0:
        return None
    factors = errors / value if value else np.zeros(STEPS)
    ends = [np.quantile(np.abs(noise + factor * gap) @ weight, [(1 - level) / 2, (1 + level) / 2]) for factor in factors]
    of_high, of_low = np.maximum.accumulate(ends).T
    # where each quantile reaches the error seen, between two errors that were tried
    low, high = (float(np.interp(value, quantiles, errors)) for quantiles in (of_low, of_high))
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
            rate = min(mean, share, key=lambda p: abs(p - 0.5))
            cases = len(np.unique(units[inside]))
            rows.append((inside.mean(), mean - share, rate - generator.binomial(cases, rate, DRAWS) / cases))
    weight, gap, noise = zip(*rows, strict=True)
    return np.array(weight) / sum(weight), np.array(gap), np.stack(noise, axis=1)
