"""The splits of listed images: those that are missing are cut, and what the others lack is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medmamba.data.splits import SHARES, make_splits
from medmamba.errors import InputError
from medmamba.tasks import Task

if TYPE_CHECKING:
    from medmamba.data.listing import Listing


def complete_splits(listing: Listing, targets: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Cut the missing splits out of train, keeping the shares 7 (train) : 1 (val) : 2 (test).

    So data without splits is cut 70/10/20; a val split alone is 1/8 of train, a test split alone 2/9. Data with splits
    but no train is left as it is: it can be evaluated, not trained on.

    Returns:
        Split of each image, (n,) str, and the names of the splits that were cut here.

    Raises:
        InputError: There are too few images to cut.
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


def notes_on_splits(
    listing: Listing,
    targets: np.ndarray,
    splits: np.ndarray,
    *,
    made: tuple[str, ...],
    classes: tuple[str, ...],
    task: Task,
    seed: int,
) -> tuple[str, ...]:
    """How splits were cut, which classes had too few images for it, and which are missing from given splits."""
    notes = []
    counts = {name: _count(targets[splits == name], len(classes), task) for name in SHARES if (splits == name).any()}
    cut = ["train", *made] if made else []
    if made:
        sizes = ", ".join(f"{name} {int((splits == name).sum())}" for name in cut)
        how = "by class" if listing.groups is None else "by class, whole patients"
        notes.append(
            f"no {' and no '.join(made)} split was given: cut from train {how}, seed {seed}, into {sizes} images"
        )
    for index, label in enumerate(classes):
        lacking = [name for name in made if counts[name][index] == 0]
        count = sum(int(counts[name][index]) for name in cut)
        if lacking and count:
            few_images = "1 image" if count == 1 else f"{count} images"
            notes.append(f"class {label!r} has only {few_images} to cut, so none is in {' or '.join(lacking)}")
    for name in ("val", "test"):
        if name in counts and name not in made:
            absent = [repr(label) for label, count in zip(classes, counts[name], strict=True) if count == 0]
            if absent:
                notes.append(f"the {name} split that was given has no image of {', '.join(absent)}")
    return tuple(notes)


def _count(targets: np.ndarray, classes: int, task: Task) -> np.ndarray:
    """Images of each class, (classes,); for multi-label those that carry each label."""
    return targets.sum(axis=0) if task is Task.MULTILABEL else np.bincount(targets, minlength=classes)
