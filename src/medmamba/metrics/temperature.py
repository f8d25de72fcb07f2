"""Temperature scaling (Guo et al. 2017): one number, fitted on validation images, that softens or sharpens a model.

It works on probabilities, so that a model, a file that was exported from it and a table of scores are scaled alike.
"""

from __future__ import annotations

import numpy as np

from medmamba.errors import InputError
from medmamba.metrics.calibration import SMALLEST, logit, nll
from medmamba.tasks import Task

LOWEST, HIGHEST = 0.05, 20.0


def scale(task: Task, probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (n, classes) at a temperature: as if the model's logits had been divided by it.

    Softmax tasks: p ** (1 / T), normalised to 1. Multi-label: the logit of each label divided by T. The most probable
    class stays the most probable one, ties included, whatever is lost to rounding.

    Raises:
        InputError: The temperature is not a positive number.
    """
    if not 0 < temperature < np.inf:
        raise InputError(f"temperature {temperature} cannot divide logits; give a positive number, 1 for no change")
    if temperature == 1 or len(probabilities) == 0:
        return probabilities.copy()
    with np.errstate(divide="ignore"):  # the log of 0 is -inf, which gives 0 or 1 again
        if task is Task.MULTILABEL:
            odds_against = (np.log1p(-probabilities) - np.log(probabilities)) / temperature
            scaled = np.where(probabilities > 0, 1 / (1 + np.exp(np.minimum(odds_against, 700))), 0)  # e ** 710 is inf
        else:
            logs = np.log(probabilities)
            powers = np.exp((logs - logs.max(axis=1, keepdims=True)) / temperature)
            scaled = powers / powers.sum(axis=1, keepdims=True)
    return _same_answer(probabilities, scaled)


def fit_temperature(task: Task, probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The temperature in [0.05, 20] that makes `nll` smallest on these images, by bisection of its slope in 1 / T.

    The negative log-likelihood is convex in 1 / T, so that there is one minimum. Fit on validation images only.

    Args:
        task: Decides between softmax and one sigmoid a label.
        probabilities: At temperature 1, (n, classes).
        targets: Class indices (n,); for multi-label 0 or 1, (n, classes).

    Returns:
        A number whose `nll` is never above that of temperature 1. 1.0 where there is nothing to fit: no image, equal
        probabilities, or no minimum down to 0.05, as when every answer is right, where the likelihood asks for
        certainty that no number of images can support.
    """
    if len(targets) == 0:
        return 1.0
    low, high = 1 / HIGHEST, 1 / LOWEST
    if _slope(task, probabilities, targets, high) <= 0:
        return 1.0
    if _slope(task, probabilities, targets, low) >= 0:
        high = low
    for _ in range(60):
        middle = (low + high) / 2
        if _slope(task, probabilities, targets, middle) > 0:
            high = middle
        else:
            low = middle
    found = 2 / (low + high)
    better = nll(task, scale(task, probabilities, found), targets) < nll(task, probabilities, targets)
    return float(np.clip(found, LOWEST, HIGHEST)) if better else 1.0


def _slope(task: Task, probabilities: np.ndarray, targets: np.ndarray, sharpness: float) -> float:
    """Derivative of the negative log-likelihood by 1 / T, times the number of terms; it grows with 1 / T."""
    if task is Task.MULTILABEL:
        logits = logit(probabilities)
        said = 1 / (1 + np.exp(-np.clip(logits * sharpness, -500, 500)))
        return float(((said - targets) * logits).sum())
    logs = np.log(np.maximum(probabilities, SMALLEST))
    powers = np.exp((logs - logs.max(axis=1, keepdims=True)) * sharpness)
    said = powers / powers.sum(axis=1, keepdims=True)
    return float(((said * logs).sum(axis=1) - logs[np.arange(len(targets)), targets]).sum())


def _same_answer(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Hold every class below those that were most probable before, where rounding has made them equal."""
    best = before.argmax(axis=1)[:, None]
    top = np.take_along_axis(after, best, axis=1)
    most_probable = before == np.take_along_axis(before, best, axis=1)
    return np.where(most_probable, top, np.minimum(after, np.nextafter(top, 0)))
