"""`medmamba calibrate`: fit decisions on the validation split and store them in the bundle."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from medmamba import __version__
from medmamba.bundle import Bundle
from medmamba.calibration.scope import fit_kind, with_limits
from medmamba.data import Dataset
from medmamba.data.dataset import ALL, ImageSet
from medmamba.data.related import seen_by
from medmamba.decisions import Conformal, Decisions
from medmamba.errors import InputError
from medmamba.metrics import calibration as measures
from medmamba.metrics.classification import number
from medmamba.metrics.conformal import quantile, true_class_scores
from medmamba.metrics.operating import threshold_for_sensitivity, threshold_for_specificity, youden_threshold
from medmamba.metrics.temperature import fit_temperature, scale
from medmamba.predictor import network
from medmamba.predictor.opening import open_for, open_split
from medmamba.predictor.scope import looks_of
from medmamba.tasks import Task

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


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


def calibrate(
    folder: str | os.PathLike[str],
    data: Dataset | str | os.PathLike[str],
    *,
    split: str = "val",
    point: OperatingPoint | None = None,
    error: float | None = 0.1,
    refused: float | None = 0.05,
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
    batch_size: int = 64,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Choose how a trained model decides, on images that it was not fitted to, and store it in its bundle.

    Four things, in this order: a temperature (Guo et al. 2017), which changes how sure the model is and never its most
    probable class; the threshold of a binary task, or one for each label; prediction sets; and the scope, for which the
    training images are read too. All replace what was chosen before.

    Args:
        folder: A bundle.
        data: What it was trained on, opened with its classes; or what `open_data` takes. Other data of the same classes
            is possible too, another hospital's say; the scope stays as it was then.
        split: Which images decide; not `test`, whose figures would be optimistic afterwards.
        point: Where to cut; None for a probability of 0.5.
        error: Share of images whose true class may be missing from its prediction set; None for no sets.
        refused: Share of the validation images that are told to be unlike the training images; None for no scope.
        group_column: The patient column of a table, as in training.
        label_columns: The label columns of a table, as in training.
        allow: Faults of the data to go on in spite of, names of `medmamba.data.faults.FAULTS`.
        batch_size: Images that go through the model at once.
        device: As for `medmamba.load`.
        progress: Called with (images done, images in all) after each batch.

    Returns:
        What `bundle.json` keeps as `decisions.fitted`: `data`, `fingerprint`, `split`, `n`, `date`, `version`,
        `temperature`, `threshold`, `point`, figures `before` and `after` on these images (`nll`, `brier`, `ece`),
        `prediction_sets`, `scope` and `notes`.

    Raises:
        InputError: The folder is no bundle, the data does not fit it or cannot be read, or an option is not possible.
            The bundle is what it was then.
    """
    point = point or OperatingPoint()
    _check(split, error, refused)
    loaded = network.load(folder, device=device)
    bundle = loaded.bundle
    if bundle.task not in (Task.BINARY, Task.MULTILABEL) and point != OperatingPoint():
        raise InputError(
            f"a {bundle.task} model answers its most probable class and has no threshold; leave {point} out"
        )
    plain = replace(bundle, threshold=0.5, decisions=Decisions())
    classifier = network.NetworkClassifier(plain, loaded.model, torch.device(loaded.device))
    data = open_for(plain, data, group_column=group_column, label_columns=label_columns, allow=allow)
    own = any(each.is_same(data) for each in seen_by(bundle.provenance)[-1:])
    images = open_split(data, split, [plain], allow=allow).images
    train = open_split(data, "train", [plain], allow=allow).images if refused is not None and own else None
    total = len(images) + len(train or ())
    seen = _examine(classifier, images, batch_size, progress, 0, total)
    decided = _decide(plain, seen.scores, images, point, error)
    kind, notes = loaded.kind, list(decided.notes)
    if train is not None and refused is not None:
        learnt = _examine(classifier, train, batch_size, progress, len(images), total)
        kind = with_limits(fit_kind(learnt.features, train.targets, learnt.looks), seen.features, seen.looks, refused)
    elif refused is not None:
        notes.append("the scope was left as it was, since this is not the data that the model was trained on")
    scope = None if refused is None else bundle.decisions.scope if train is None else refused
    fitted = {
        "data": data.name,
        "fingerprint": data.fingerprint(),
        "split": split,
        "n": len(images),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        **decided.figures,
        "scope": None if scope is None or kind is None else {"refused": scope},
        "notes": notes,
    }
    if scope is not None and kind is not None:
        kind.save(folder)  # before the description that refers to it
    decisions = Decisions(decided.temperature, decided.conformal, scope, fitted)
    replace(bundle, threshold=decided.threshold, decisions=decisions).save_description(folder)
    return fitted


def _check(split: str, error: float | None, refused: float | None) -> None:
    for name, value in {"error": error, "refused": refused}.items():
        if value is not None and not 0 < value < 1:
            raise InputError(f"{name} {value:g} is not possible; give a share between 0 and 1, for example 0.1")
    if split in ("test", ALL):
        raise InputError(
            f"the split {split} is what the model is judged on afterwards; calibrate on the validation split"
        )


@dataclass(frozen=True, eq=False)
class Examined:
    """Of the images of a split, in its order: features (n, d), looks (n, s), probabilities (n, classes)."""

    features: np.ndarray
    looks: np.ndarray
    scores: np.ndarray


def _examine(
    classifier: network.NetworkClassifier,
    images: ImageSet,
    batch_size: int,
    progress: Progress | None,
    before: int,
    total: int,
) -> Examined:
    def answer(pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        features, scores = classifier.features_and_probabilities(pixels)
        return features, looks_of(pixels), scores

    def move(done: int, _: int) -> None:
        if progress is not None:
            progress(before + done, total)

    return Examined(*classifier.gather(images, answer, batch_size, move))


@dataclass(frozen=True)
class Decided:
    """What was chosen from probabilities and targets alone, the figures that tell of it, and notes."""

    temperature: float
    threshold: float | tuple[float, ...]
    conformal: Conformal | None
    figures: dict[str, Any]
    notes: tuple[str, ...]


def _decide(
    bundle: Bundle, scores: np.ndarray, images: ImageSet, point: OperatingPoint, error: float | None
) -> Decided:
    task, targets = bundle.task, images.targets
    temperature = fit_temperature(task, scores, targets)
    scaled = scale(task, scores, temperature)
    notes: list[str] = []
    if images.groups is not None and len(set(images.groups)) < len(targets):
        notes.append("some patients have several images here, so what is promised holds less surely than for so many")
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
    figures = {"nll": measures.nll, "brier": measures.brier, "ece": measures.ece}
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
    of_class = tuple(quantile(missed[targets == k], error) for k in range(scores.shape[1]))
    return Conformal(error, of_class, by_class=True)
