"""What the validation images say of an epoch: its loss, its AUC, and how it fared in each part of the task."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from medmamba.bundle import Bundle
from medmamba.metrics.classification import auc
from medmamba.metrics.lopsided import class_rows, lopsided
from medmamba.tasks import decide, loss, probabilities

logger = logging.getLogger(__name__)

Rows = list[dict[str, Any]]


class Verdict(NamedTuple):
    """Of one epoch.

    Attributes:
        loss: Mean plain loss; where it is not finite the rest is empty.
        auc: The figure that chooses the epoch; None where the images define none.
        rows: Of each part of the task, as JSON takes them.
    """

    loss: float
    auc: float | None
    rows: Rows


class Judge(Protocol):
    """Judges the answers for the validation split.

    Attributes:
        n: Validation images.
        parts: What its rows are called in the provenance.
    """

    n: int
    parts: str

    def judge(self, logits: Tensor) -> Verdict:
        """Of the whole split, (n, outputs) float64."""
        ...

    def tell(self, rows: Rows) -> None:
        """Log the rows of the epoch that is kept."""
        ...


class ClassJudge:
    """The judge of one data set, class by class."""

    parts = "per_class"

    def __init__(self, bundle: Bundle, targets: np.ndarray) -> None:
        """Take what is trained and the targets of its validation split, in its order."""
        self.bundle, self.targets, self.n = bundle, targets, len(targets)

    def judge(self, logits: Tensor) -> Verdict:
        """As `Judge`: how many images of each class were decided rightly."""
        bundle = self.bundle
        value = float(loss(bundle.task, logits, torch.from_numpy(self.targets)).double().mean())
        if not np.isfinite(value):
            return Verdict(value, None, [])
        scores = probabilities(bundle.task, logits).double().numpy()
        area = auc(bundle.task, scores, self.targets, bundle.positive)
        decisions = decide(bundle.task, scores, threshold=bundle.threshold, positive=bundle.positive)
        return Verdict(value, area, class_rows(bundle.classes, decisions, self.targets))

    def tell(self, rows: Rows) -> None:
        """As `Judge`."""
        words = [f"{row['name']} {_share(row['sensitivity'])} (n {row['n']})" for row in rows]
        logger.info("sensitivity (recall) of each class on the validation images: %s", ", ".join(words))
        for sentence in lopsided(self.bundle.task, rows, self.n):
            logger.warning("validation: %s", sentence)


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of those that are not None; None if all are."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
