"""Splits as tables: those of a data set, or of k folds in which every image is tested once."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from medmamba.data.dataset import ALL, Dataset, ImageSet
from medmamba.data.faults import settle_fault
from medmamba.data.locating import outside
from medmamba.data.splits import SHARES, assign, count_units, make_splits
from medmamba.errors import InputError
from medmamba.tasks import Task
from medmamba.text import counted

logger = logging.getLogger(__name__)


def write_tables(
    data: Dataset, out: Path, *, folds: int | None = None, seed: int = 0, allow: Collection[str] = ()
) -> list[Path]:
    """Write the splits of a data set as a table, or a table for each of k folds; `open_data` takes them again.

    Args:
        data: Of files. Its splits are as they are without folds, and not used with them.
        out: The table. Of folds there are several, `name-fold1.csv`, `name-fold2.csv` and so on.
        folds: How many, 2 or more; None for the splits of the data.
        seed: Decides the folds.
        allow: Faults to go on in spite of; `outside-folder` for a table that training takes only with it, too.

    Returns:
        The tables.

    Raises:
        InputError: The data are no files or too few, images lie outside the table's folder, or a table is there
            already. Nothing is written then.
    """
    if out.suffix.lower() != ".csv":
        raise InputError(f"{out} does not end in .csv; name a table to write with --out, for example folds.csv")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent} to write {out.name} in; make it first")
    files = data.split(ALL).files
    if files is None:
        raise InputError(f"the images of {data.name} are no files, so that no table can name them; give files")
    _settle_outside(out, files, allow)
    for note in (*data.allowed, *data.notes):
        logger.info("data: %s", note)
    if folds is not None:
        logger.info("the folds are cut from all images of %s, whatever splits they are in", data.name)
    parts = [data] if folds is None else cut_folds(data, folds, seed)
    tables = [out] if folds is None else [out.with_stem(f"{out.stem}-fold{k}") for k in range(1, folds + 1)]
    if there := [table for table in tables if table.exists()]:
        raise InputError(f"{there[0]} is there already; name another table, or remove it")
    for table, part in zip(tables, parts, strict=True):
        part.write_splits(table)
        logger.info("%s: %s", table.name, ", ".join(f"{name} {len(part.split(name))}" for name in part.splits))
    return tables


def _settle_outside(out: Path, files: Sequence[Path], allow: Collection[str]) -> None:
    """Refuse, or tell where it is allowed, a table that could not be opened again as it is."""
    if beyond := outside(out, files):
        sentence = (
            f"{len(beyond)} of {len(files)} images lie outside the folder of {out}, and train would refuse it; "
            "name a table in a folder above the images"
        )
        logger.warning("allowed: %s", settle_fault("outside-folder", sentence, allow))


def cut_folds(data: Dataset, folds: int, seed: int) -> list[Dataset]:
    """The data set k times, each time with another part of it as the test split and val cut from the rest.

    Every image is in one test split, patients are whole, and classes are spread over the folds as evenly as patients
    allow. Train and val are 7 to 1.

    Raises:
        InputError: There are fewer images or patients than folds, or a class is so rare that a fold would have to test
            it without having learnt it.
    """
    images = data.split(ALL)
    images = images.take(np.array(sorted(range(len(images)), key=images.names.__getitem__)))
    fold_of = make_folds(images.targets, images.groups, seed, folds)
    _check_classes(data, images, fold_of)
    return [_fold(data, images, fold_of == fold, fold + 1, seed) for fold in range(folds)]


def make_folds(targets: np.ndarray, groups: Sequence[str] | None, seed: int, folds: int) -> np.ndarray:
    """A fold for each image, (n,), 0 to folds - 1, as `make_splits` deals out patients but in equal shares.

    Raises:
        InputError: There are fewer units than folds, or fewer than two folds.
    """
    unit_of, counts = count_units(targets, groups)
    if not 2 <= folds <= len(counts):
        units = counted(len(counts), "image" if groups is None else "patient")
        raise InputError(f"{units} cannot be cut into {counted(folds, 'fold')}; give from 2 to {len(counts)}")
    sizes = np.bincount(unit_of, minlength=len(counts))
    return assign(counts, sizes, np.full(folds, 1 / folds), _choose_fold, np.random.default_rng(seed))[unit_of]


def _choose_fold(need: np.ndarray, here: np.ndarray, members: int) -> int:
    """Of the folds that have none of the class yet, or else of all, the one that lacks it most."""
    free = np.flatnonzero(here == 0)
    return int(free[need[free].argmax()] if len(free) else need.argmax())


def _check_classes(data: Dataset, images: ImageSet, fold_of: np.ndarray) -> None:
    folds = int(fold_of.max()) + 1
    for index, name in enumerate(data.classes):
        has = images.targets[:, index] == 1 if data.task is Task.MULTILABEL else images.targets == index
        tested = len(set(fold_of[has]))
        if tested == 1:
            raise InputError(
                f"all {int(has.sum())} images of {name!r} in {data.name} fall into one fold, which would test the "
                "class without having learnt it; add images or patients of it, or leave the class out"
            )
        if tested < folds:
            logger.warning("class %r is so rare that only %d of %d folds test it", name, tested, folds)


def _fold(data: Dataset, images: ImageSet, test: np.ndarray, number: int, seed: int) -> Dataset:
    rest = np.flatnonzero(~test)
    groups = None if images.groups is None else [images.groups[row] for row in rest]
    shares = {name: SHARES[name] / (SHARES["train"] + SHARES["val"]) for name in ("train", "val")}
    splits = np.full(len(images), "test", dtype="<U5")
    splits[rest] = make_splits(images.targets[rest], groups, seed, shares)
    return replace(
        data,
        name=f"{data.name}-fold{number}",
        splits={name: partial(images.take, np.flatnonzero(splits == name)) for name in SHARES},
        made_splits=tuple(SHARES),
    )
