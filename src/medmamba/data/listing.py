"""Image files with labels, as a folder or a table names them, and the data set that they make."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medmamba.data.completing import complete_splits, notes_on_splits
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.labels import check_alike, check_class_names, check_file_names
from medmamba.data.splits import SHARES
from medmamba.errors import InputError, suggest
from medmamba.tasks import Task
from medmamba.text import counted

SEPARATORS = ("|", ";")  # between the labels of one image


class RowsError(InputError):
    """Some images of a listing cannot be used.

    Attributes:
        names: Of these images. Without them the listing may be usable.
    """

    def __init__(self, sentence: str, names: Sequence[str]) -> None:
        super().__init__(sentence)
        self.names = tuple(names)


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
        classes: All classes in order, where the source states them; None for those of train, sorted.
        allowed: Faults that were found and allowed, as `settle_fault` puts them.
        attributes: Other columns of a table, by title.
        unit: What `groups` names, as in `ImageSet`.
    """

    name: str
    names: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    allowed: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unit: str = "patient"


def make_dataset(listing: Listing, *, task: Task | None, classes: tuple[str, ...] | None, seed: int) -> Dataset:
    """Turn names into targets, and cut the splits that are missing.

    Args:
        listing: What a folder or a table says.
        task: None decides by the number of classes: two are binary, more are multi-class.
        classes: Class order of a trained model, to which labels are mapped by name. None takes the listing's own, or
            the names of the train split (of all images where there is none), sorted as text.
        seed: Decides who goes where when splits are cut.

    Raises:
        InputError: A class is unknown to train or to `classes`, a name cannot be used, there are too few classes for
            the task, or too few images to cut.
    """
    _refuse_empty(listing, task)
    labels = [_labels_of(cell, task) for cell in listing.labels]
    _check_names(listing, labels, trained=classes is not None)
    order = classes if classes is not None else _class_order(listing, labels)
    _refuse_unknown(listing, labels, order, trained=classes is not None)
    if unknown := [name for name in order if listing.classes is not None and name not in listing.classes]:
        raise InputError(f"{listing.name} does not say for its images whether they are {few(unknown)}; name all labels")
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
        notes=(
            *listing.notes,
            *_note_on_separators(listing, task),
            *notes_on_splits(listing, targets, splits, made=made, classes=order, task=task, seed=seed),
        ),
        made_splits=made,
        allowed=listing.allowed,
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
        sentence = (
            f"{listing.name} has {counted(len(unlabelled), 'image')} without a label: {few(unlabelled)}; label them"
        )
        raise RowsError(sentence, unlabelled)


def _labels_of(cell: str, task: Task | None) -> tuple[str, ...]:
    if task is not Task.MULTILABEL:
        return (cell,)
    return tuple(sorted({label.strip() for label in re.split(r"[|;]", cell) if label.strip()}))


def _check_names(listing: Listing, labels: list[tuple[str, ...]], *, trained: bool) -> None:
    names = {label for row in labels for label in row}.union(listing.classes or ())
    check_class_names(names, listing.name)
    if not trained:  # a trained model knows how its classes are written
        check_alike(names, listing.name)
    check_file_names(listing.names, listing.name)


def _note_on_separators(listing: Listing, task: Task) -> tuple[str, ...]:
    if task is Task.MULTILABEL or not any("|" in cell for cell in listing.labels):
        return ()
    return ("a label with | in it is taken as one name; the task multi-label takes it as several",)


def _class_order(listing: Listing, labels: list[tuple[str, ...]]) -> tuple[str, ...]:
    if listing.classes is not None:
        return listing.classes
    in_train = [listing.splits is None or split == "train" for split in listing.splits or labels]
    rows = [row for row, train in zip(labels, in_train, strict=True) if train] or labels
    return tuple(sorted({label for row in rows for label in row}))


def _refuse_unknown(listing: Listing, labels: list[tuple[str, ...]], order: tuple[str, ...], *, trained: bool) -> None:
    extra = sorted({label for row in labels for label in row} - set(order))
    if extra:
        where = "the trained model" if trained else "the train split"
        hint = suggest(extra[0], order)
        raise RowsError(
            f"{listing.name} has classes that {where} does not know: {few(extra)}; it knows {few(order)}{hint}",
            [name for name, row in zip(listing.names, labels, strict=True) if not set(row) <= set(order)],
        )


def _targets(labels: list[tuple[str, ...]], order: tuple[str, ...], task: Task) -> np.ndarray:
    index = {name: position for position, name in enumerate(order)}
    if task is not Task.MULTILABEL:
        return np.array([index[row[0]] for row in labels], dtype=np.int64)
    targets = np.zeros((len(labels), len(order)), dtype=np.int64)
    for row, names in enumerate(labels):
        targets[row, [index[name] for name in names]] = 1
    return targets


def _open(listing: Listing, targets: np.ndarray, chosen: np.ndarray) -> ImageSet:
    rows = np.flatnonzero(chosen)
    return ImageSet(
        names=tuple(listing.names[row] for row in rows),
        targets=targets[rows],
        groups=None if listing.groups is None else tuple(listing.groups[row] for row in rows),
        files=tuple(listing.files[row] for row in rows),
        attributes={title: tuple(cells[row] for row in rows) for title, cells in listing.attributes.items()},
        unit=listing.unit,
    )


def without(listing: Listing, names: Collection[str]) -> Listing:
    """The same listing without some images."""
    left = [row for row, name in enumerate(listing.names) if name not in set(names)]
    columns: dict[str, Any] = {}
    for title in ("names", "files", "labels", "splits", "groups"):
        column = getattr(listing, title)
        columns[title] = None if column is None else tuple(column[row] for row in left)
    columns["attributes"] = {title: tuple(cells[row] for row in left) for title, cells in listing.attributes.items()}
    return replace(listing, **columns)


def with_note(listing: Listing, note: str) -> Listing:
    """The same listing with one more note."""
    return replace(listing, notes=(*listing.notes, note))
