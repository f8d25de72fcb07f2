"""The images that trained models are asked about, opened with the models' classes.

Data on which an answer would mislead is refused: of other classes, or seen in training.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from medmamba.bundle import Bundle
from medmamba.data import Dataset, open_data
from medmamba.data.dataset import ImageSet
from medmamba.data.faults import check_allowed
from medmamba.data.related import check_unseen, seen_sentences
from medmamba.errors import InputError
from medmamba.tasks import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """One split of a data set that the models may be asked about.

    Attributes:
        name: Of the data set.
        images: The split.
        notes: Of the data set: sentences worth telling the user.
        allowed: Faults that were found and allowed, sentences.
        cautions: Sentences that must stand beside the figures, where the split took part in training.
    """

    name: str
    images: ImageSet
    notes: tuple[str, ...]
    allowed: tuple[str, ...]
    cautions: tuple[str, ...] = ()


def open_split(
    data: Dataset | str | os.PathLike[str],
    split: str,
    bundles: Sequence[Bundle],
    *,
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
) -> Opened:
    """Open one split for one or several models.

    Args:
        data: Opened with the models' classes; or what `open_data` takes.
        split: Name of the split; `all` takes every image.
        bundles: The models, at least one; their classes must be the same, in the same order.
        group_column: The patient column of a table, as in training.
        label_columns: The label columns of a table, as in training.
        allow: Faults of the data to go on in spite of, names of `medmamba.data.faults.FAULTS`; they are logged.

    Raises:
        InputError: The models have different classes or tasks; the data has other classes or another task than they,
            has no such split or no image in it; or one of them may have been trained on these images.
    """
    check_allowed(allow)
    first = bundles[0]
    for bundle in bundles[1:]:
        check_alike(first, bundle)
    data = open_for(first, data, group_column=group_column, label_columns=label_columns, allow=allow)
    allowed: list[str] = []
    cautions: list[str] = []
    for bundle in bundles:
        check_split(bundle, data, split)
        allowed += [told for told in check_unseen(data, bundle.provenance, allow) if told not in allowed]
        cautions += [told for told in seen_sentences(data, split, bundle.provenance) if told not in cautions]
    images = data.split(split)
    if len(images) == 0:
        raise InputError(f"the split {split!r} of {data.name} has no images; choose one of {', '.join(data.splits)}")
    for sentence in allowed:
        logger.warning("allowed: %s", sentence)
    return Opened(data.name, images, data.notes, (*data.allowed, *allowed), tuple(cautions))


def open_for(
    bundle: Bundle,
    data: Dataset | str | os.PathLike[str],
    *,
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
) -> Dataset:
    """A data set with the classes of a model, cut as it was for its training where it came without splits.

    Arguments and errors are those of `open_split`; nothing is asked of the splits.
    """
    if not isinstance(data, Dataset):
        data = open_data(
            data,
            task=str(bundle.task),
            group_column=group_column,
            label_columns=label_columns,
            classes=bundle.classes,
            seed=int(bundle.provenance.get("seed") or 0),
            allow=allow,
        )
    check_fit(bundle, data)
    return data


def check_alike(first: Bundle, other: Bundle) -> None:
    """Refuse two models that do not answer the same question: InputError names the classes."""
    if (other.task, other.classes) != (first.task, first.classes):
        told = " and ".join(
            f"{bundle.model}: {bundle.task} with {', '.join(map(repr, bundle.classes))}" for bundle in (first, other)
        )
        raise InputError(
            f"the models answer different questions ({told}); give models of the same classes in one order"
        )


def check_split(bundle: Bundle, data: Dataset, split: str) -> None:
    """Refuse a split that we have cut from images other than those the model was trained on.

    A cut is the same only for the same images and labels. For others, images may be in our test part that were trained
    on; which images are asked for must then be said.
    """
    trained_on = bundle.provenance.get("data") or {}
    if split in data.made_splits and data.fingerprint() != trained_on.get("fingerprint"):
        raise InputError(
            f"{data.name} came without a split {split!r}, and its images, labels or patients are not those that the "
            "model was trained on; give splits, or score every image with --split all if none was used in training"
        )


def check_fit(bundle: Bundle, data: Dataset) -> None:
    """Refuse data that asks something else than the model answers: InputError names the classes."""
    if extra := [name for name in data.classes if name not in bundle.classes]:
        raise InputError(
            f"{data.name} has classes that the model does not know: {', '.join(map(repr, extra))}; "
            f"it was trained on {', '.join(map(repr, bundle.classes))}"
        )
    if tuple(data.classes) != tuple(bundle.classes):
        raise InputError(
            f"{data.name} was opened with the classes {', '.join(map(repr, data.classes))}, the model has "
            f"{', '.join(map(repr, bundle.classes))} in this order; open it with classes=classifier.classes"
        )
    if (data.task is Task.MULTILABEL) != (bundle.task is Task.MULTILABEL):
        raise InputError(f"{data.name} is a {data.task} data set, the model answers a {bundle.task} task")
