"""Sets of classes that hold the true one with a chosen error rate, by split conformal prediction.

The score of a case is 1 minus the probability of its true class (Sadinle, Lei and Wasserman 2019). From the scores of
n calibration cases follows a bound; the set of a new image holds all classes whose score is within it.

The promise is *marginal*: over new cases and calibration sets together, drawn alike, sets miss the true class at most
at the error rate. It does not hold for each class, each hospital or each calibration set. Bounds for each class
(`class_quantiles`) make it hold for each class; `coverage_range` says how much one calibration set may be off.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medmamba.errors import InputError
from medmamba.metrics.intervals import wilson

EVERYTHING = 1.0  # the bound that every class is within


def true_class_scores(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """1 minus the probability of the true class, (n,), from probabilities (n, classes) and indices (n,)."""
    return 1 - probabilities[np.arange(len(targets)), targets]


def quantile(scores: np.ndarray, error: float) -> float:
    """The bound from calibration scores: the ceil((n + 1) (1 - error))-th smallest.

    Args:
        scores: Of calibration cases that the model was not trained on, (n,), from 0 to 1.
        error: Share of sets that may miss the true class, between 0 and 1.

    Returns:
        A number from 0 to 1; 1, so that sets hold every class, where n is too small for the promise.

    Raises:
        InputError: The error rate is not between 0 and 1.
    """
    left_out = _left_out(len(scores), error)
    return EVERYTHING if left_out == 0 else float(np.sort(scores)[len(scores) - left_out])


def class_quantiles(scores: np.ndarray, targets: np.ndarray, classes: int, error: float) -> np.ndarray:
    """A bound for each class from its own cases, (classes,): class-conditional or Mondrian sets (Vovk 2012)."""
    return np.array([quantile(scores[targets == k], error) for k in range(classes)])


def prediction_sets(probabilities: np.ndarray, quantiles: float | np.ndarray) -> np.ndarray:
    """Which classes each set holds, bool (n, classes), by one bound or one a class, (classes,). A set may be empty."""
    return 1 - probabilities <= quantiles


def coverage(sets: np.ndarray, targets: np.ndarray, level: float = 0.95) -> dict[str, Any]:
    """How often sets hold the true class, and how large they are.

    Args:
        sets: Bool, (n, classes).
        targets: Class indices, (n,).
        level: Of Wilson's intervals, which suppose that images are independent.

    Returns:
        `n`; `coverage`, a figure; `per_class`, a figure a class with its `n`; `sizes`, how many sets hold 0, 1, ...
        classes; `mean_size`; `referred`, a figure: the share of sets that do not hold exactly one class, of cases that
        go to a person; `kept_right`, a figure: of the others, the share whose one class is the true one. A figure is
        `{"value", "low", "high"}`, with None where there are no cases.
    """
    n, classes = sets.shape
    holds, size = sets[np.arange(n), targets], sets.sum(axis=1)
    per_class = [{"n": int((targets == k).sum()), **_share(holds[targets == k], level)} for k in range(classes)]
    return {
        "n": n,
        "coverage": _share(holds, level),
        "per_class": per_class,
        "sizes": np.bincount(size, minlength=classes + 1).tolist(),
        "mean_size": float(size.mean()) if n else None,
        "referred": _share(size != 1, level),
        "kept_right": _share(holds[size == 1], level),
    }


def coverage_range(n: int, error: float, level: float = 0.95) -> tuple[float, float]:
    """Between which shares the coverage of sets calibrated on n cases lies, for this part of all calibration sets.

    For continuous scores the coverage of new cases is Beta(n + 1 - l, l) with l = floor((n + 1) error) (Vovk 2012); its
    equal-tailed range is found by bisection. Figures of a test set vary by the chance of its cases on top of this.

    Returns:
        (low, high) in [0, 1]; (1, 1) where n is too small and sets hold everything.
    """
    left_out = _left_out(n, error)
    if left_out == 0:
        return 1.0, 1.0
    return _beta_quantile((1 - level) / 2, n, left_out), _beta_quantile((1 + level) / 2, n, left_out)


def _left_out(n: int, error: float) -> int:
    """How many of n + 1 cases may be missed."""
    if not 0 < error < 1:
        raise InputError(f"an error rate of {error:g} was asked for; give a share between 0 and 1, such as 0.1")
    return int((n + 1) * error + 1e-9)


def _beta_quantile(probability: float, n: int, left_out: int) -> float:
    """Of Beta(n + 1 - l, l), whose distribution at x is the chance of fewer than l failures in n trials of chance x."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])  # of factorials
    failures = np.arange(left_out)
    ways = logs[n] - logs[failures] - logs[n - failures]
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        below = np.exp(ways + failures * np.log1p(-middle) + (n - failures) * np.log(middle)).sum()
        low, high = (middle, high) if below < probability else (low, middle)
    return (low + high) / 2


def _share(hits: np.ndarray, level: float) -> dict[str, float | None]:
    interval = wilson(int(hits.sum()), len(hits), level)
    low, high = interval or (None, None)
    return {"value": float(hits.mean()) if len(hits) else None, "low": low, "high": high}
