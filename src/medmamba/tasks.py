"""What a model is asked: how scores become probabilities, what the loss is, how a decision is made.

Everything that depends on the task (binary, multi-class, multi-label, ordinal) is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from medmamba.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


class Task(StrEnum):
    """A kind of classification.

    Binary, multi-class and ordinal models give one logit a class and a softmax over them (a binary model has two, so
    that either class can be explained); a multi-label model gives one independent logit a label. Ordinal classes have
    an order, but are trained and scored as MedMNIST does, like multi-class ones (Yang et al. 2023).
    """

    BINARY = "binary"
    MULTICLASS = "multi-class"
    MULTILABEL = "multi-label"
    ORDINAL = "ordinal"


def probabilities(task: Task, logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Turn logits (n, classes) into probabilities (n, classes): a sigmoid each for multi-label, else a softmax.

    Args:
        task: Decides between the two.
        logits: (n, classes).
        temperature: The logits are divided by it first (Guo et al. 2017).
    """
    logits = logits.float() if temperature == 1 else logits.float() / temperature
    return logits.sigmoid() if task is Task.MULTILABEL else logits.softmax(dim=-1)


def loss(
    task: Task,
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
    offsets: Tensor | None = None,
    gamma: float = 0.0,
) -> Tensor:
    """Loss of each image, (n,), in float64 for logits in float64 and else in float32.

    With none of the last three it is the plain loss, which is what validation reports whatever training minimises.

    Args:
        task: Decides between cross-entropy and the mean over labels of the binary cross-entropy.
        logits: (n, classes).
        targets: Class indices (n,), int64; for multi-label 0 or 1, (n, classes).
        label_smoothing: Share of the target spread evenly, 0 to 1; ignored by multi-label.
        weights: (classes,), 0 or more: of each image by its class; for multi-label of the images that carry a label.
        offsets: (classes,), added to the logits (Menon et al. 2021, logit adjustment).
        gamma: 0 or more: the loss times (1 - p) ** gamma, p being the probability of the right answer; for multi-label
            of each label (Lin et al. 2017, focal loss).
    """
    import torch
    import torch.nn.functional as F

    logits = logits if logits.dtype == torch.float64 else logits.float()
    if offsets is not None:
        logits = logits + offsets
    if task is Task.MULTILABEL:
        targets = targets.to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=weights)
        if gamma:
            surprise = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")  # -log p
            losses = losses * (-torch.expm1(-surprise)) ** gamma
        return losses.mean(dim=-1)
    losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
    if weights is not None:
        losses = losses * weights[targets]
    if gamma:
        surprise = F.cross_entropy(logits, targets, reduction="none")  # -log p
        losses = losses * (-torch.expm1(-surprise)) ** gamma
    return losses


def decide(
    task: Task, probabilities: np.ndarray, *, threshold: float | Sequence[float] = 0.5, positive: int = 1
) -> np.ndarray:
    """Turn probabilities (n, classes) into decisions.

    Args:
        task: Decides the rule.
        probabilities: (n, classes), each in [0, 1].
        threshold: A binary model answers its positive class from this probability on; a multi-label model gives every
            label from it on, or from one of its own where there is one a label, (classes,). Multi-class and ordinal
            models answer the most probable class.
        positive: Index of the positive class of a binary task.

    Returns:
        Class indices (n,), int64; for multi-label 0 or 1, (n, classes), int64.

    Raises:
        InputError: There are several thresholds, and the task is not multi-label or has another number of labels.
    """
    check_threshold(task, threshold, probabilities.shape[1])
    if task is Task.MULTILABEL:
        return (probabilities >= np.asarray(threshold)).astype(np.int64)
    if task is Task.BINARY:
        return np.where(probabilities[:, positive] >= threshold, positive, 1 - positive).astype(np.int64)
    return probabilities.argmax(axis=1).astype(np.int64)


def check_threshold(task: Task, threshold: float | Sequence[float], classes: int) -> None:
    """Refuse several thresholds unless there is one for each label of a multi-label task: InputError."""
    shape = np.shape(threshold)
    if shape and (task is not Task.MULTILABEL or shape != (classes,)):
        wanted = f"one number, or {classes} for the labels" if task is Task.MULTILABEL else "one number"
        raise InputError(f"{len(threshold)} thresholds were given for a {task} task; give {wanted}")  # type: ignore[arg-type]
