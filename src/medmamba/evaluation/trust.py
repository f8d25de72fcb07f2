"""Whether a model's probabilities, prediction sets and scope keep what they promise, on images it was not tuned on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medmamba.bundle import Bundle
from medmamba.metrics.calibration_summary import summarise_calibration
from medmamba.metrics.conformal import coverage, coverage_range, prediction_sets
from medmamba.metrics.intervals import wilson
from medmamba.metrics.temperature import scale


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
        `temperature`; `after` and `before`, what `summarise_calibration` gives, the latter None at a temperature of 1.
    """
    temperature = bundle.decisions.temperature

    def figures(probabilities: np.ndarray) -> dict[str, Any]:
        return summarise_calibration(
            bundle.task,
            probabilities,
            targets,
            positive=bundle.positive,
            groups=groups,
            resamples=resamples,
            seed=seed,
        )

    before = None if temperature == 1 else figures(scale(bundle.task, scores, 1 / temperature))
    return {"temperature": temperature, "before": before, "after": figures(scores)}


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
