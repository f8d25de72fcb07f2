"""Image files with labels, as a folder or a table names them, and the data set that they make."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.splits import SHARES, make_splits
from medmamba.errors import InputError
from medmamba.tasks import Task


@dataclass(frozen=True)
class Listing:
    """Columns of equal length, one row an image.

    Attributes:
        name: What the data is called.
        names: Name of each image.
        files: Its path.
        labels: Its class; for a multi-label task its labels joined by `|` or `;`, empty for none.
        splits: Its split (`train`, `val` or `test`), or None where none are given.
        groups: Its patient, or None where patients are unknown.
        notes: Sentences worth telling the user.
    """

    name: str
    names: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def make_dataset(listing: Listing, *, task: Task | None, classes: tuple[str, ...] | None, seed: int) -> Dataset:
    """Turn names into targets, and cut the splits that are missing.

    Args:
        listing: What a folder or a table says.
        task: None decides by the number of classes: two are binary, more are multi-class.
        classes: Class order of a trained model, to which labels are mapped by name. None takes the names of the
            train split (of all images where there is none), sorted as text.
        seed: Decides who goes where when splits are cut.

    Raises:
        InputError: A class is unknown to train or to `classes`, there are too few classes for the task, or too few
            images to cut.
    """
    _refuse_empty(listing, task)
    labels = [_labels_of(cell, task) for cell in listing.labels]
    order = classes if classes is not None else _class_order(listing, labels)
    _refuse_unknown(listing, labels, order, trained=classes is not None)
    task = task_of(task, order, listing.name)
    targets = _targets(labels, order, task)
    splits, made = complete_splits(listing, targets, seed)
    present = [name for name in SHARES if name in splits]
    return Dataset(
        name=listing.name,
        task=task,
        classes=order,
        splits={name: partial(_open, listing, targets, splits == name) for name in present},
        positive=len(order) - 1,
        notes=(*listing.notes, *_notes_on_made(made, listing, targets, splits, order, task, seed)),
        made_splits=made,
    )


def task_of(task: Task | None, classes: Sequence[str], name: str) -> Task:
    """The task that was asked for, or the one that the number of classes suggests.

    Raises:
        InputError: The task does not go with that number of classes.
    """
    if len(classes) < (1 if task is Task.MULTILABEL else 2):
        there = f"only the class {classes[0]!r}" if classes else "no class"
        raise InputError(f"{name} has {there}; expected two or more, each a folder or a label of its own")
    if task is None:
        return Task.BINARY if len(classes) == 2 else Task.MULTICLASS
    if task is Task.BINARY and len(classes) != 2:
        raise InputError(f"a binary task has two classes, but {name} has {len(classes)}; ask for multi-class")
    return task


def few(words: Sequence[str], most: int = 5) -> str:
    """The first words of a list, and how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def _refuse_empty(listing: Listing, task: Task | None) -> None:
    """An image without a label is a fault unless labels are many, and then none is one of the answers."""
    unlabelled = [name for name, cell in zip(listing.names, listing.labels, strict=True) if not cell]
    if unlabelled and task is not Task.MULTILABEL:
        raise InputError(f"{listing.name} has {len(unlabelled)} images without a label: {few(unlabelled)}; label them")


def _labels_of(cell: str, task: Task | None) -> tuple[str, ...]:
    if task is not Task.MULTILABEL:
        return (cell,)
    return tuple(sorted({label.strip() for label in re.split(r"[|;]", cell) if label.strip()}))


def _class_order(listing: Listing, labels: list[tuple[str, ...]]) -> tuple[str, ...]:
    in_train = [listing.splits is None or split == "train" for split in listing.splits or labels]
    rows = [row for row, train in zip(labels, in_train, strict=True) if train] or labels
    return tuple(sorted({label for row in rows for label in row}))


def _refuse_unknown(listing: Listing, labels: list[tuple[str, ...]], order: tuple[str, ...], *, trained: bool) -> None:
    extra = sorted({label for row in labels for label in row} - set(order))
    if extra:
        where = "the trained model" if trained else "the train split"
        raise InputError(f"{listing.name} has classes that {where} does not know: {few(extra)}; it knows {few(order)}")


def _targets(labels: list[tuple[str, ...]], order: tuple[str, ...], task: Task) -> np.ndarray:
    index = {name: position for position, name in enumerate(order)}
    if task is not Task.MULTILABEL:
        return np.array([index[row[0]] for row in labels], dtype=np.int64)
    targets = np.zeros((len(labels), len(order)), dtype=np.int64)
    for row, names in enumerate(labels):
        targets[row, [index[name] for name in names]] = 1
    return targets


def complete_splits(listing: Listing, targets: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Cut the missing splits out of train, keeping the shares 7 (train) : 1 (val) : 2 (test).

    So data without splits is cut 70/10/20; a val split alone is 1/8 of train, a test split alone 2/9. Data with splits
    but no train is left as it is: it can be evaluated, not trained on.

    Returns:
        Split of each image, (n,) str, and the names of the splits that were cut here.
    """
    given = np.array(listing.splits or ["train"] * len(targets))
    if "train" not in given:
        return given, ()
    made = tuple(name for name in SHARES if name not in given)
    if not made:
        return given, ()
    cut = ["train", *made]
    fractions = {name: SHARES[name] / sum(SHARES[other] for other in cut) for name in cut}
    rows = np.flatnonzero(given == "train")
    groups = None if listing.groups is None else [listing.groups[row] for row in rows]
    splits = given.astype("<U5")
    try:
        splits[rows] = make_splits(targets[rows], groups, seed, fractions)
    except InputError as error:
        raise InputError(f"{listing.name}: {error}") from None
    return splits, made


def _notes_on_made(
    made: tuple[str, ...],
    listing: Listing,
    targets: np.ndarray,
    splits: np.ndarray,
    order: tuple[str, ...],
    task: Task,
    seed: int,
) -> tuple[str, ...]:
    if not made:
        return ()
    cut = ["train", *made]
    sizes = ", ".join(f"{name} {int((splits == name).sum())}" for name in cut)
    how = "by class" if listing.groups is None else "by class, whole patients"
    notes = [f"no {' and no '.join(made)} split was given: cut from train {how}, seed {seed}, into {sizes} images"]
    for index, label in enumerate(order):
        has = targets[:, index] == 1 if task is Task.MULTILABEL else targets == index
        lacking = [name for name in made if not (has & (splits == name)).any()]
        count = int((has & np.isin(splits, cut)).sum())
        if lacking and count:
            few_images = "1 image" if count == 1 else f"{count} images"
            notes.append(f"class {label!r} has only {few_images} to cut, so none is in {' or '.join(lacking)}")
    return tuple(notes)


def _open(listing: Listing, targets: np.ndarray, chosen: np.ndarray) -> ImageSet:
    rows = np.flatnonzero(chosen)
    return ImageSet(
        names=tuple(listing.names[row] for row in rows),
        targets=targets[rows],
        groups=None if listing.groups is None else tuple(listing.groups[row] for row in rows),
        files=tuple(listing.files[row] for row in rows),
    )


def with_note(listing: Listing, note: str) -> Listing:
    """The same listing with one more note."""
    return replace(listing, notes=(*listing.notes, note))
