"""`pretrain`: from several data sets to a backbone that `fit` starts from."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from medmamba.backbone import Backbone, Head
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.faults import check_allowed
from medmamba.data.opening import check_outside, open_data
from medmamba.data.related import Seen, check_start, check_together, lineage, seen_by
from medmamba.errors import InputError
from medmamba.tasks import Task
from medmamba.training.config import TrainConfig
from medmamba.training.folder import run_log
from medmamba.training.imbalance import log_imbalance
from medmamba.training.judging import Judge
from medmamba.training.lesson import Draw, Lesson, describe_preprocessing, loss_for, open_splits, settle_splits
from medmamba.training.lightning_trainer import determinism_restored, quiet
from medmamba.training.mixture import MixedLoss, Mixture, SetJudge, mix, shares
from medmamba.training.plan import Plan, Request, absolute, make_plan
from medmamba.training.provenance import describe_data, log_data
from medmamba.training.run import learn

logger = logging.getLogger(__name__)


def pretrain(
    data: Sequence[Dataset | str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    config: TrainConfig | None = None,
    resume: bool = False,
    allow: Collection[str] = (),
    command: str | None = None,
    **options: Any,
) -> Path:
    """Train one backbone on several data sets at once, with a head for each, and write it for `fit` to start from.

    Each image is answered by the head of its own data set, and the loss is the mean over the images. An epoch has as
    many images as all training splits together; a set's share of them goes with the square root of its number of
    images. The epoch that is kept has the highest mean over the sets of the validation AUC. No test split is opened.

    Args:
        data: Two or more: `Dataset`s, or what `medmamba.open_data` takes.
        out: Folder for the backbone; new or empty, unless resuming.
        config: All options of the run.
        resume: Go on from the last finished epoch of the run in `out`, which must have had the same options and data.
        allow: Faults of the data to go on in spite of, names of `medmamba.data.faults.FAULTS`; the backbone says so.
        command: The command line, to be recorded.
        options: Single options of `TrainConfig`, changed in `config`.

    Returns:
        The folder.

    Raises:
        InputError: Something that was asked for is not possible; nothing has been trained or written.
        TrainingError: The run had to stop, as for `fit`.
    """
    if isinstance(data, str | os.PathLike | Dataset) or len(data) < 2:
        raise InputError("pretrain learns from two or more data sets; for one, use train")
    check_allowed(allow)
    settings = (config or TrainConfig()).with_options(options)
    with quiet(), determinism_restored(), run_log() as log:
        spec = None if any(isinstance(each, Dataset) for each in data) else tuple(map(absolute, data))  # type: ignore[arg-type]
        plan = make_plan(Request(spec, None, None, None, settings, tuple(allow)))
        for each in () if resume else data:
            check_outside(out, each)
        opened = [
            each if isinstance(each, Dataset) else open_data(each, seed=settings.seed, allow=allow) for each in data
        ]
        return learn(SetLesson(opened, plan), Path(out), plan, resume, command or "medmamba.pretrain", log)


class SetLesson(Lesson):
    """The classes of several data sets, each by a head of its own."""

    def __init__(self, sets: Sequence[Dataset], plan: Plan) -> None:
        """Describe the backbone; no split is opened.

        Raises:
            InputError: The recipe draws classes equally often, which does not go with drawing sets by their sizes.
        """
        config = plan.config
        if plan.recipe.imbalance == "balanced-sampling":
            raise InputError(
                "balanced-sampling is not possible with several data sets, which are drawn by their sizes; "
                "choose class-weights, focal or logit-adjustment"
            )
        self.sets, self.plan = tuple(sets), plan
        heads = tuple(Head(data.name, data.task, tuple(data.classes), data.positive) for data in sets)
        self.bundle: Backbone = Backbone(config.model, heads, describe_preprocessing(config), dict(config.model_args))

    def open(self) -> None:
        """As `Lesson`."""
        opened = [open_splits(data) for data in self.sets]
        for data, splits in zip(self.sets, opened, strict=True):
            check_teaches(data, splits)
        self.splits: dict[str, Mixture] = {name: mix([splits[name] for splits in opened]) for name in ("train", "val")}
        self.shares = shares([len(part) for part in self.splits["train"].parts])
        described = [
            describe_data(data, splits, self.plan.config.seed)
            | {"images": {name: len(images) for name, images in splits.items()}, "share": share}
            for data, splits, share in zip(self.sets, opened, self.shares, strict=True)
        ]
        prints = "".join(each["fingerprint"] for each in described)
        self.about = {
            "name": " + ".join(data.name for data in self.sets),
            "fingerprint": hashlib.sha256(prints.encode()).hexdigest(),
            "sets": described,
            "allowed": [sentence for data in self.sets for sentence in data.allowed],
        }

    def settle(self, before: Sequence[Seen]) -> None:
        """As `Lesson`."""
        allow, seen = self.plan.request.allow, tuple(before)
        told = check_together(self.sets, allow)
        for number, data in enumerate(self.sets):
            splits = {name: mixture.parts[number] for name, mixture in self.splits.items()}
            told += settle_splits(data, splits, allow) + check_start(data, before, allow)
            chain = lineage(data, seen)
            seen = seen_by({"data": chain})
        self.about["allowed"] += told
        self.about |= chain

    def tell(self) -> None:
        """As `Lesson`."""
        for sentence in self.about["allowed"]:
            logger.warning("allowed: %s", sentence)
        for data, about in zip(self.sets, self.about["sets"], strict=True):
            log_data({**about, "allowed": ()})
            log_imbalance(self.plan.recipe.imbalance, data.task, about["counts"]["train"], about["images"]["train"])
        words = (f"{data.name} {share:.1%}" for data, share in zip(self.sets, self.shares, strict=True))
        logger.info("share of the images of an epoch: %s", ", ".join(words))

    def training_loss(self) -> nn.Module:
        """As `Lesson`."""
        parts = zip(self.sets, self.splits["train"].parts, strict=True)
        return MixedLoss(self.bundle.heads, [loss_for(data, part, self.plan.recipe) for data, part in parts])

    def draw(self) -> Draw:
        """As `Lesson`."""
        return Draw(self.splits["train"].targets[:, 0], self.shares)

    def judge(self) -> Judge:
        """As `Lesson`."""
        return SetJudge(self.bundle.heads, self.splits["val"].targets)

    def write_splits(self, folder: Path) -> None:
        """As `Lesson`: nothing, since the table of a cut would hold the test split; the seed makes the cut again."""

    def forget(self) -> None:
        """As `Lesson`."""
        del self.splits


def check_teaches(data: Dataset, splits: Mapping[str, ImageSet]) -> None:
    """Refuse a data set without validation images, or whose training images all have the same answer: InputError."""
    train = splits["train"].targets
    if (train == train[:1]).all():  # also where there is none
        labels = "labels" if data.task is Task.MULTILABEL else "class"
        raise InputError(
            f"{data.name} has {len(train)} training images, all with the same {labels}, from which nothing is learnt; "
            "give more, or leave the data set out"
        )
    if len(splits["val"]) == 0:
        raise InputError(
            f"the validation split of {data.name} has no image, and the best epoch is chosen by it; "
            "give it some, or leave the data set out"
        )
