"""Rare classes: what a run may do about them, and how it says that there are some."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medmamba.errors import InputError
from medmamba.tasks import Task, loss
from medmamba.text import counted

logger = logging.getLogger(__name__)

_EQUAL = "its probabilities are as if all classes were equally frequent"
# each choice, and what a reader of the trained model's probabilities must know
CHOICES = {
    "none": "",
    "class-weights": _EQUAL,
    "balanced-sampling": _EQUAL,
    "focal": "its probabilities are less sure than the frequencies that they stand for",
    "logit-adjustment": _EQUAL,
}
GAMMA = 2.0  # of the focal loss; the best of those that Lin et al. 2017 tried
TAU = 1.0  # of the logit adjustment; with 1 it is consistent for the balanced error (Menon et al. 2021)
# Of the weight of a label's positive images. One of them then counts as much as all negatives of the usual batches, 32
# to 128; with more, a single image would decide a step.
CAP = 100.0
_RARE = 10  # a class with less than a tenth of the images of the commonest is worth a warning


class TrainingLoss(nn.Module):
    """The task's loss with what was chosen for rare classes: logits (b, classes), targets -> loss of each image, (b,).

    Its tensors move to the device with it and never change, so that recorded steps can read them.
    """

    weights: Tensor | None
    offsets: Tensor | None

    def __init__(self, task: Task, choice: str, counts: Sequence[int], n: int, *, label_smoothing: float = 0.0) -> None:
        """Prepare.

        Args:
            task: Of the run.
            choice: A name in `CHOICES`.
            counts: Training images of each class, or with each label.
            n: Training images.
            label_smoothing: As `medmamba.tasks.loss` takes it.
        """
        super().__init__()
        self.task = task
        self.label_smoothing = label_smoothing
        self.gamma = GAMMA if choice == "focal" else 0.0
        weights = class_weights(task, counts, n) if choice == "class-weights" else None
        offsets = prior_logits(task, counts, n) if choice == "logit-adjustment" else None
        for name, values in {"weights": weights, "offsets": offsets}.items():
            tensor = None if values is None else torch.from_numpy(values).float()
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(b, classes) and targets -> (b,)."""
        return loss(
            self.task,
            logits,
            targets,
            label_smoothing=self.label_smoothing,
            weights=self.weights,
            offsets=self.offsets,
            gamma=self.gamma,
        )


def check_choice(choice: str, task: Task) -> None:
    """Raise `InputError` for what cannot be done for a task."""
    if choice == "balanced-sampling" and task is Task.MULTILABEL:
        raise InputError(
            "balanced-sampling draws each class equally often, which images with several labels do not allow; "
            "choose class-weights, focal or logit-adjustment"
        )


def class_weights(task: Task, counts: Sequence[int], n: int) -> np.ndarray:
    """Weights of the loss, (classes,) float64.

    Of an image by its class: n / (classes present * images of the class), whose mean over the training images is 1; 0
    for a class without any. For multi-label, of the images that carry a label: those without it / those with it, at
    most `CAP`; none counts as one.

    Args:
        task: Decides between the two.
        counts: Training images of each class, or with each label.
        n: Training images.
    """
    images = np.asarray(counts, dtype=np.float64)
    if task is Task.MULTILABEL:
        return np.minimum(np.maximum(n - images, 1) / np.maximum(images, 1), CAP)
    present = images > 0
    return np.where(present, n / (present.sum() * np.maximum(images, 1)), 0.0)


def prior_logits(task: Task, counts: Sequence[int], n: int) -> np.ndarray:
    """What logit adjustment adds to the logits, (classes,) float64, of the arguments of `class_weights`.

    `TAU` times the logarithm of each class's share of the training images (Menon et al. 2021, the logit adjusted loss);
    for multi-label its log-odds, the same thing for the two answers to each label. To have neither infinite, a class or
    answer without an image counts as one image.
    """
    images = np.maximum(np.asarray(counts, dtype=np.float64), 1)
    if task is Task.MULTILABEL:
        images = np.minimum(images, n - 1)
        return TAU * np.log(images / (n - images))
    return TAU * np.log(images / n)


def log_imbalance(choice: str, task: Task, counts: Mapping[str, int], n: int) -> None:
    """Say what is done about rare classes, and warn of those that are missing, or rare with nothing done.

    Args:
        choice: A name in `CHOICES`.
        task: Of the run.
        counts: Training images of each class, or with each label, by its name.
        n: Training images.
    """
    for name in (name for name, count in counts.items() if count == 0):
        logger.warning("the training split has no image of the class %s: it cannot be learnt", name)
    if choice != "none":
        logger.info("imbalance %s: %s", choice, CHOICES[choice])
        if choice == "class-weights":
            weights = class_weights(task, list(counts.values()), n)
            words = (f"{name} {weight:.3g}" for name, weight in zip(counts, weights, strict=True))
            logger.info("class weights: %s", ", ".join(words))
    elif rare := _rarest(task, counts, n):
        logger.warning(
            "%s; look at the figures of each class, not at accuracy, and consider --imbalance class-weights "
            "(docs/how-to/rare-classes.md)",
            rare,
        )


def _rarest(task: Task, counts: Mapping[str, int], n: int) -> str | None:
    """What is rare, in words; None if nothing is."""
    present = {name: count for name, count in counts.items() if count > 0}
    if not present:
        return None
    rarest, commonest = min(present, key=present.__getitem__), max(present, key=present.__getitem__)
    few, many = present[rarest], present[commonest]
    if task is Task.MULTILABEL:  # a label is set against the images without it
        return f"the labels are unbalanced: {few} of {n} images carry {rarest}" if few * _RARE < n - few else None
    if few * _RARE < many:
        return f"the classes are unbalanced: {counted(few, 'image')} of {rarest}, {many} of {commonest}"
    return None
