"""The features of models, of some images: chosen, computed, kept as `.npz`."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from medmamba.bundle import Bundle
from medmamba.data.dataset import ImageSet
from medmamba.errors import InputError
from medmamba.predictor.classifier import Classifier
from medmamba.tasks import Task, decide


@dataclass(frozen=True, eq=False)
class Features:
    """What a model makes of some images.

    Attributes:
        model: What it is called.
        values: Pooled features before the last layer, (n, d), float32, finite.
        predictions: What it decides: class indices (n,), or for multi-label 0 or 1, (n, classes).
    """

    model: str
    values: np.ndarray
    predictions: np.ndarray


def choose(classes: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Places of at most `limit` images, in order, each class with its share and, where `limit` allows, at least one.

    Args:
        classes: Class of each image, (n,).
        limit: How many; 0 for all.
        seed: Decides which of each class.
    """
    n = len(classes)
    if not 0 < limit < n:
        return np.arange(n)
    mixed = np.random.default_rng(seed).permutation(n)
    share = np.empty(n)  # of its class that comes before an image
    for index in np.unique(classes):
        members = mixed[classes[mixed] == index]
        share[members] = np.arange(len(members)) / len(members)
    return np.sort(mixed[np.argsort(share[mixed], kind="stable")[:limit]])


def classes_of(bundle: Bundle, targets: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """One class for each image, (n,), and the names of the classes.

    Where an image may have several labels, those with one have its class; `no label` and `several labels` are two more.
    """
    if bundle.task is not Task.MULTILABEL:
        return targets, bundle.classes
    several = len(bundle.classes) + 1
    labels = targets.sum(axis=1)
    classes = np.where(labels == 1, targets.argmax(axis=1), np.where(labels == 0, several - 1, several))
    return classes, (*bundle.classes, "no label", "several labels")


def check_gives_features(classifier: Classifier) -> None:
    """Raise `InputError` if a model gives no features, before any image is read."""
    shape = classifier.bundle.preprocessing
    classifier.features(np.zeros((1, shape.channels, shape.height, shape.width), np.uint8))


def compute(
    model: str,
    classifier: Classifier,
    images: ImageSet,
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Features and decisions of a model, in the order of the images.

    Args:
        model: What it is to be called.
        classifier: The model.
        images: What it is asked about.
        batch_size: Images that go through the model at once.
        progress: Called with (images done, images in all) after each batch.

    Raises:
        InputError: An image cannot be read, or features are not finite.
    """
    values, scores = classifier.features_and_scores(images, batch_size=batch_size, progress=progress)
    broken = int((~np.isfinite(values)).any(axis=1).sum())
    if broken:
        raise InputError(
            f"the features of {broken} of {len(values)} images by {model} are not finite; train it again, or copy it "
            "again if it was whole before"
        )
    bundle = classifier.bundle
    decisions = decide(bundle.task, scores, threshold=bundle.threshold, positive=bundle.positive)
    return Features(model, values, decisions)


def as_npz(features: Features, bundle: Bundle, images: ImageSet, split: str) -> bytes:
    """A `.npz` that `numpy.load(..., allow_pickle=False)` reads.

    It holds `features` (n, d) float32; `targets` and `predictions` (n,) int64, indices into `classes`, or for
    multi-label 0 or 1, (n, classes); `names` (n,) and `classes`, and `patients` (n,) where they are known; `split` and
    `model`, one text each.
    """
    texts = {"names": images.names, "classes": bundle.classes, "split": split, "model": features.model}
    if images.groups is not None:
        texts["patients"] = images.groups
    arrays: dict[str, Any] = {
        "features": features.values,
        "targets": images.targets.astype(np.int64),
        "predictions": features.predictions,
        **{key: np.array(words, dtype=np.str_) for key, words in texts.items()},
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
