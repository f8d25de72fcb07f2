"""What is chosen from probabilities and targets alone: temperature, thresholds, prediction sets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from medmamba.bundle import Bundle
from medmamba.data.dataset import ImageSet
from medmamba.decisions import Conformal
from medmamba.errors import InputError
from medmamba.metrics.calibration import brier, ece, nll
from medmamba.metrics.classification import number
from medmamba.metrics.conformal import class_quantiles, quantile, true_class_scores
from medmamba.metrics.operating import threshold_for_sensitivity, threshold_for_specificity, youden_threshold
from medmamba.metrics.temperature import HIGHEST, fit_temperature, scale
from medmamba.tasks import Task


@dataclass(frozen=True)
class OperatingPoint:
    """Where to cut a probability into yes and no; at most one of the three.

    Attributes:
        sensitivity: The least that is wanted of the positive class, or of each label, on the validation images.
        specificity: The same for the specificity.
        youden: Where sensitivity and specificity together are largest (Youden 1950).
    """

    sensitivity: float | None = None
    specificity: float | None = None
    youden: bool = False

    def __post_init__(self) -> None:
        for name in ("sensitivity", "specificity"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise InputError(f"{name} {value:g} is not possible; give one above 0 and up to 1, for example 0.95")
        if sum([self.sensitivity is not None, self.specificity is not None, self.youden]) > 1:
            raise InputError("several operating points were asked for; give one of sensitivity, specificity and youden")

    def threshold(self, scores: np.ndarray, truth: np.ndarray) -> float:
        """The threshold for probabilities (n,) of the truth (n,), 0 or 1."""
        if self.sensitivity is not None:
            return threshold_for_sensitivity(scores, truth, self.sensitivity)
        if self.specificity is not None:
            return threshold_for_specificity(scores, truth, self.specificity)
        return youden_threshold(scores, truth) if self.youden else 0.5

    def __str__(self) -> str:
        if self.sensitivity is not None:
            return f"sensitivity at least {self.sensitivity:g}"
        if self.specificity is not None:
            return f"specificity at least {self.specificity:g}"
        return "Youden's index" if self.youden else "a probability of 0.5"


@dataclass(frozen=True)
class Decided:
    """What was chosen from probabilities and targets alone, the figures that tell of it, and notes."""

    temperature: float
    threshold: float | tuple[float, ...]
    conformal: Conformal | None
    figures: dict[str, Any]
    notes: tuple[str, ...]


def choose(bundle: Bundle, scores: np.ndarray, images: ImageSet, point: OperatingPoint, error: float | None) -> Decided:
    """Choose from the probabilities (n, classes) that a model without any decisions gives for images."""
    task, targets = bundle.task, images.targets
    temperature = fit_temperature(task, scores, targets)
    scaled = scale(task, scores, temperature)
    notes: list[str] = []
    if images.groups is not None and len(set(images.groups)) < len(targets):
        notes.append("some patients have several images here, so what is promised holds less surely than for so many")
    if temperature == HIGHEST:
        notes.append(
            f"the temperature stands at {HIGHEST:g}, the highest that is tried: on these images the probabilities told "
            "hardly anything, and are nearly equal now; look at the training before you use them"
        )
    threshold: float | tuple[float, ...] = 0.5
    if task is Task.BINARY:
        threshold = point.threshold(scaled[:, bundle.positive], targets == bundle.positive)
    elif task is Task.MULTILABEL:
        threshold = tuple(point.threshold(scaled[:, k], targets[:, k]) for k in range(len(bundle.classes)))
    conformal = None if error is None else _conformal(task, scaled, targets, error, notes)
    figures = {
        "temperature": temperature,
        "threshold": threshold if isinstance(threshold, float) else list(threshold),
        "point": str(point),
        "before": _figures(task, scores, targets),
        "after": _figures(task, scaled, targets),
        "prediction_sets": None
        if conformal is None
        else {"error": conformal.error, "by_class": conformal.by_class, "quantiles": list(conformal.quantiles)},
    }
    return Decided(temperature, threshold, conformal, figures, tuple(notes))


def _figures(task: Task, scores: np.ndarray, targets: np.ndarray) -> dict[str, float | None]:
    figures = {"nll": nll, "brier": brier, "ece": ece}
    return {name: number(figure(task, scores, targets)) for name, figure in figures.items()}


def _conformal(task: Task, scores: np.ndarray, targets: np.ndarray, error: float, notes: list[str]) -> Conformal | None:
    """Quantiles of one minus the probability of the true class; by class where every class has images enough."""
    if task is Task.MULTILABEL:
        notes.append("prediction sets are made for tasks with one class an image, not for multi-label ones")
        return None
    counts = np.bincount(targets, minlength=scores.shape[1])
    needed = math.ceil(1 / error) - 1  # with fewer, only the set of all classes keeps the promise
    if counts.sum() < needed:
        notes.append(
            f"{counts.sum()} images are too few for prediction sets with an error of {error:g}: {needed} needed"
        )
        return None
    missed = true_class_scores(scores, targets)
    if counts.min() < needed:
        rare = int(counts.argmin())
        notes.append(
            f"prediction sets keep their promise for all classes together, not for each: one has {counts[rare]} "
            f"images here, {needed} are needed"
        )
        return Conformal(error, (quantile(missed, error),) * scores.shape[1], by_class=False)
    of_class = class_quantiles(missed, targets, scores.shape[1], error)
    return Conformal(error, tuple(of_class.tolist()), by_class=True)
