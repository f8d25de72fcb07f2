"""What a run learns, from which images, and who judges it: all in which `fit` and `pretrain` differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from medmamba.backbone import Backbone
from medmamba.bundle import Bundle
from medmamba.check.quick import settle_leaks, settle_patients
from medmamba.data.dataset import Dataset, ImageSet, Pictures
from medmamba.data.preprocessing import Preprocessing
from medmamba.data.related import Seen, check_start, lineage
from medmamba.data.settings import Reading
from medmamba.training.config import TrainConfig
from medmamba.training.folder import SPLIT_TABLE
from medmamba.training.imbalance import TrainingLoss, check_choice, log_imbalance
from medmamba.training.judging import ClassJudge, Judge
from medmamba.training.plan import Plan
from medmamba.training.provenance import class_counts, describe_data, log_data
from medmamba.training.recipe import Recipe

SPLITS = ("train", "val")  # the only ones that training opens


@dataclass(frozen=True)
class Draw:
    """How often images are drawn in an epoch, as `EpochBatches` takes it.

    Attributes:
        balance: Group of each training image, (n,); None to take each image once.
        shares: Of an epoch's images for each group; None for equal ones.
    """

    balance: np.ndarray | None = None
    shares: Sequence[float] | None = None


class Lesson(ABC):
    """A run's own part.

    Attributes:
        bundle: What the run writes, but for its provenance.
        splits: The images of train and val, from `open` to `forget`.
        about: What the provenance keeps of the data, from `open` on; `allowed` and what was seen follow in `settle`.
    """

    bundle: Bundle | Backbone
    splits: Mapping[str, Pictures]
    about: dict[str, Any]

    @abstractmethod
    def open(self) -> None:
        """Open train and val; InputError where they cannot be learnt from."""

    @abstractmethod
    def settle(self, before: Sequence[Seen]) -> None:
        """Refuse or note the faults of data that a new run would learn from, after what its start has seen."""

    @abstractmethod
    def tell(self) -> None:
        """Log what the data are."""

    @abstractmethod
    def training_loss(self) -> nn.Module:
        """What is minimised: (logits (b, outputs), targets (b, ...)) -> (b,)."""

    @abstractmethod
    def draw(self) -> Draw:
        """How often images are drawn."""

    @abstractmethod
    def judge(self) -> Judge:
        """Who judges the answers for the validation images."""

    @abstractmethod
    def write_splits(self, folder: Path) -> None:
        """Write the splits that were made for the run into its folder, where that is possible."""

    @abstractmethod
    def forget(self) -> None:
        """Let go of the images: what was read of them stays with the batches."""


class ClassLesson(Lesson):
    """The classes of one data set."""

    def __init__(self, data: Dataset, plan: Plan) -> None:
        """Describe the model; no split is opened.

        Raises:
            InputError: Model or recipe do not go with the data.
        """
        check_choice(plan.recipe.imbalance, data.task)
        self.data, self.plan = data, plan
        self.bundle: Bundle = describe_model(data, plan.config)

    def open(self) -> None:
        """As `Lesson`."""
        self.splits: dict[str, ImageSet] = open_splits(self.data)
        self.about = describe_data(self.data, self.splits, self.plan.config.seed)

    def settle(self, before: Sequence[Seen]) -> None:
        """As `Lesson`."""
        allow = self.plan.request.allow
        self.about["allowed"] += settle_splits(self.data, self.splits, allow)
        self.about["allowed"] += check_start(self.data, before, allow)
        self.about |= lineage(self.data, before)

    def tell(self) -> None:
        """As `Lesson`."""
        log_data(self.about)
        counts = self.about["counts"]["train"]
        log_imbalance(self.plan.recipe.imbalance, self.data.task, counts, len(self.splits["train"]))

    def training_loss(self) -> nn.Module:
        """As `Lesson`."""
        return loss_for(self.data, self.splits["train"], self.plan.recipe)

    def draw(self) -> Draw:
        """As `Lesson`."""
        balanced = self.plan.recipe.imbalance == "balanced-sampling"
        return Draw(self.splits["train"].targets if balanced else None)

    def judge(self) -> Judge:
        """As `Lesson`."""
        return ClassJudge(self.bundle, self.splits["val"].targets)

    def write_splits(self, folder: Path) -> None:
        """As `Lesson`."""
        if self.data.made_splits and self.splits["train"].files is not None:
            self.data.write_splits(folder / SPLIT_TABLE)

    def forget(self) -> None:
        """As `Lesson`."""
        del self.splits


def describe_model(data: Dataset, config: TrainConfig) -> Bundle:
    """The bundle that a run makes, but for its provenance."""
    return Bundle(
        model=config.model,
        model_args=dict(config.model_args),
        task=data.task,
        classes=tuple(data.classes),
        positive=data.positive,
        preprocessing=describe_preprocessing(config),
    )


def describe_preprocessing(config: TrainConfig) -> Preprocessing:
    """How pixels reach the model of a run."""
    height, width = config.image_size
    reading = Reading(config.window, config.frame, config.max_pixels)
    return Preprocessing(
        height=height,
        width=width,
        channels=config.channels,
        fit=config.fit,
        reading=reading,
        detail=config.detail,
    )


def open_splits(data: Dataset) -> dict[str, ImageSet]:
    """Train and val of a data set."""
    return {name: data.split(name) for name in SPLITS}


def settle_splits(data: Dataset, splits: Mapping[str, ImageSet], allow: Sequence[str]) -> list[str]:
    """Refuse patients or images that are both in train and in val; what was allowed, in sentences."""
    told = []
    if not any(sentence.startswith("patient-overlap") for sentence in data.allowed):
        told += settle_patients(splits["train"], splits["val"], allow)
    return told + settle_leaks(splits["train"], splits["val"], allow)


def loss_for(data: Dataset, train: ImageSet, recipe: Recipe) -> TrainingLoss:
    """What a recipe minimises on the training images of a data set."""
    counts = list(class_counts(train, data).values())
    return TrainingLoss(data.task, recipe.imbalance, counts, len(train), label_smoothing=recipe.label_smoothing)
