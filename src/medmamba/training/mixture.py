"""Several data sets as one: their images, their losses and their figures, each by its own part of the outputs.

A network with a linear head for each data set is one whose last layer holds the rows of all heads, one after the other:
so nothing is put around it, and whatever serves the training of one network serves here. Each image looks at the
outputs of its own head alone. Its target is a row: the number of its data set, then its class, or its labels. Under
mixup two sets may meet in one image; the head of each is then asked, with the image's share as its weight.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from medmamba.backbone import Head
from medmamba.data.dataset import ImageSet
from medmamba.data.reading import DEFAULT
from medmamba.data.settings import Reading
from medmamba.metrics.classification import auc
from medmamba.tasks import Task, loss, probabilities
from medmamba.training.imbalance import TrainingLoss
from medmamba.training.judging import Rows, Verdict, mean_of

logger = logging.getLogger(__name__)

EXPONENT = 0.5  # of the number of images in the share of a set: square-root sampling, Mahajan et al. 2018


@dataclass(frozen=True, eq=False)
class Mixture:
    """The images of one split of several data sets, one set after the other; files and arrays side by side.

    Attributes:
        parts: Of each data set.
        targets: (n, 1 + most labels), int64: number of the set, then the class, or 0 and 1 for each label; 0 fills up.
        array: None: each image is read from where it lies.
    """

    parts: tuple[ImageSet, ...]
    targets: np.ndarray
    array: None = None

    def __len__(self) -> int:
        return len(self.targets)

    def read(self, index: int, reading: Reading = DEFAULT, *, tell: bool = True) -> np.ndarray:
        """Pixels of one image, as `ImageSet.read`."""
        number = int(self.targets[index, 0])
        return self.parts[number].read(index - sum(len(part) for part in self.parts[:number]), reading, tell=tell)


def mix(parts: Sequence[ImageSet]) -> Mixture:
    """Join the same split of several data sets."""
    tables = [part.targets.reshape(len(part), -1) for part in parts]
    targets = np.zeros((sum(map(len, parts)), 1 + max(table.shape[1] for table in tables)), dtype=np.int64)
    start = 0
    for number, table in enumerate(tables):
        rows = targets[start : start + len(table)]
        rows[:, 0], rows[:, 1 : 1 + table.shape[1]] = number, table
        start += len(table)
    return Mixture(tuple(parts), targets)


def shares(sizes: Sequence[int]) -> list[float]:
    """Share of an epoch's images for each data set: its number of images to the power `EXPONENT`, in proportion.

    A set with a hundred times the images of another is drawn ten times as often, and so does not drown it.
    """
    weights = np.asarray(sizes, dtype=np.float64) ** EXPONENT
    return (weights / weights.sum()).tolist()


def columns(heads: Sequence[Head]) -> Iterator[slice]:
    """The outputs of each head."""
    start = 0
    for head in heads:
        yield slice(start, start + len(head.classes))
        start += len(head.classes)


def own_targets(head: Head, targets: Tensor) -> Tensor:
    """Targets as the loss of a head takes them, of rows of a mixture: (b,), or (b, labels) for multi-label."""
    return targets[:, 1 : 1 + len(head.classes)] if head.task is Task.MULTILABEL else targets[:, 1]


class MixedLoss(nn.Module):
    """The loss of each image by its own head: logits (b, outputs), targets of a mixture (b, ...) -> (b,).

    Every head is asked about every image and the right answer taken: no shape depends on what a batch holds, as a CUDA
    graph wants it, and no process waits for the gradient of a head that its batch has no image of.
    """

    def __init__(self, heads: Sequence[Head], losses: Sequence[TrainingLoss]) -> None:
        """Take the heads and the loss of each."""
        super().__init__()
        self.heads, self.losses = tuple(heads), nn.ModuleList(losses)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(b, outputs) and (b, ...) -> (b,)."""
        total: Tensor | None = None
        for number, (head, part, criterion) in enumerate(
            zip(self.heads, columns(self.heads), self.losses, strict=True)
        ):
            mine = targets[:, 0] == number
            own = own_targets(head, targets)
            own = own * mine.view(-1, *[1] * (own.ndim - 1))  # the classes of other sets may be more than it has
            values = criterion(logits[:, part], own)
            total = torch.where(mine, values, torch.zeros_like(values) if total is None else total)
        assert total is not None
        return total


class SetJudge:
    """The judge of several data sets: each by its own head, and the mean over the sets chooses the epoch."""

    parts = "per_set"

    def __init__(self, heads: Sequence[Head], targets: np.ndarray) -> None:
        """Take the heads and the targets of the mixture of the validation splits."""
        self.heads, self.targets, self.n = tuple(heads), targets, len(targets)

    def judge(self, logits: Tensor) -> Verdict:
        """As `Judge`: loss and AUC of each set, and their means, in which each set counts alike."""
        rows: Rows = []
        for number, (head, part) in enumerate(zip(self.heads, columns(self.heads), strict=True)):
            mine = np.flatnonzero(self.targets[:, 0] == number)
            own = own_targets(head, torch.from_numpy(self.targets[mine]))
            answers = logits[torch.from_numpy(mine), part]
            value = float(loss(head.task, answers, own).double().mean())
            if not np.isfinite(value):
                return Verdict(value, None, [])
            scores = probabilities(head.task, answers).double().numpy()
            area = auc(head.task, scores, own.numpy(), head.positive)
            rows.append({"name": head.name, "n": len(mine), "loss": value, "auc": area})
        logger.info("validation AUC of each set: %s", _words(rows))
        return Verdict(float(np.mean([row["loss"] for row in rows])), mean_of([row["auc"] for row in rows]), rows)

    def tell(self, rows: Rows) -> None:
        """As `Judge`."""
        logger.info("validation AUC of each set in the epoch that is kept: %s", _words(rows))
        for row in rows:
            if row["auc"] is None:
                logger.warning("the validation images of %s define no AUC, so it had no say in the epoch", row["name"])


def _words(rows: Rows) -> str:
    return ", ".join(f"{row['name']} {'-' if row['auc'] is None else format(row['auc'], '.4f')}" for row in rows)
