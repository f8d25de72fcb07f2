"""Whether a model's probabilities, prediction sets and scope keep what they promise, on images it was not tuned on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medmamba.bundle import Bundle
from medmamba.metrics.calibration import brier, confidences, ece, equal_mass, expected_ece, nll, reliability
from medmamba.metrics.classification import number
from medmamba.metrics.conformal import coverage, coverage_range, prediction_sets
from medmamba.metrics.intervals import bootstrap, wilson
from medmamba.metrics.temperature import scale
from medmamba.tasks import Task

DEFINITIONS = {
    "nll": "negative log-likelihood: mean of -log of the probability of what was true; lower is better",
    "brier": "Brier score: squared distance of the probabilities from what was true, summed over classes (multi-label: "
    "mean over labels); lower is better",
    "ece": "expected calibration error, 15 bins of equal width: mean distance between the confidence of the answers in a "
    "bin and the share of them that is right; never negative, so chance alone makes it positive",
    "ece_equal_mass": "the same with 15 bins of as many images",
}


def calibration(
    bundle: Bundle,
    scores: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[str] | None,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Figures of calibration, as the model answers and as it would without its temperature.

    Args:
        bundle: Of the model.
        scores: Its probabilities, (n, classes).
        targets: Class indices (n,); for multi-label 0 or 1, (n, classes).
        groups: Patient of each image, or None.
        resamples: Bootstrap draws; 0 for no intervals.
        seed: Of the bootstrap.

    Returns:
        `temperature`; `after` and, where the temperature is not 1, `before`: each `nll`, `brier`, `ece`,
        `ece_equal_mass` (figures), `ece_by_chance` (mean and 95 % quantile of what a perfectly calibrated model with
        these confidences would show) and `bins` of the reliability diagram; and `definitions`.
    """
    temperature = bundle.decisions.temperature

    def figures(probabilities: np.ndarray) -> dict[str, Any]:
        return _figures(bundle.task, probabilities, targets, groups, resamples=resamples, seed=seed)

    before = None if temperature == 1 else figures(scale(bundle.task, scores, 1 / temperature))
    return {"temperature": temperature, "before": before, "after": figures(scores), "definitions": DEFINITIONS}


def _figures(
    task: Task,
    scores: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[str] | None,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    def all_at_once(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        values = [figure(task, scores, targets, weights) for figure in (nll, brier, ece)]
        return np.stack([*values, ece(task, scores, targets, weights, binning=equal_mass)], axis=-1)

    values = all_at_once(scores, targets, np.ones((1, len(targets))))[0]
    intervals = (
        bootstrap(all_at_once, scores, targets, groups=groups, resamples=resamples, seed=seed)
        if resamples
        else [None] * len(values)
    )
    named = {
        name: {"value": number(value), "low": (interval or (None, None))[0], "high": (interval or (None, None))[1]}
        for name, value, interval in zip(DEFINITIONS, values, intervals, strict=True)
    }
    by_chance = expected_ece(task, scores, seed=seed)
    confidence, right = confidences(task, scores, targets)
    return named | {
        "ece_by_chance": None if by_chance is None else {"mean": by_chance[0], "q95": by_chance[1]},
        "bins": reliability(confidence.ravel(), right.ravel()),
    }


def sets(bundle: Bundle, scores: np.ndarray, targets: np.ndarray) -> dict[str, Any] | None:
    """What prediction sets did on these images; None where the model makes none.

    Returns:
        What `medmamba.metrics.conformal.coverage` gives, classes with their names; `error` and `by_class` as promised;
        and `expected`, between which shares the coverage of 95 % of such calibrations lies, chance of these images left
        out; None where each class has a bound of its own.
    """
    conformal = bundle.decisions.conformal
    if conformal is None:
        return None
    found = coverage(prediction_sets(scores, np.array(conformal.quantiles)), targets)
    for name, row in zip(bundle.classes, found["per_class"], strict=True):
        row["name"] = name
    n = bundle.decisions.fitted.get("n")
    expected = None if conformal.by_class or not n else list(coverage_range(int(n), conformal.error))
    return {"error": conformal.error, "by_class": conformal.by_class, "expected": expected, **found}


def scope(bundle: Bundle, strange: np.ndarray) -> dict[str, Any] | None:
    """How many of these images the model would call unlike those of its training; None where it cannot tell."""
    if bundle.decisions.scope is None:
        return None
    refused = int((strange > 1).sum())
    low, high = wilson(refused, len(strange)) or (None, None)
    value = refused / len(strange) if len(strange) else None
    return {"chosen": bundle.decisions.scope, "refused": {"value": value, "low": low, "high": high}}
