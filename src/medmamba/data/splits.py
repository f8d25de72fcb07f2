"""Cutting images into train, val and test: stratified by class, whole patients, from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from medmamba.errors import InputError

SHARES = {"train": 7, "val": 1, "test": 2}
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def split_word(text: str) -> str | None:
    """`train`, `val` or `test` for any word that is used for it, in any case; None for other words."""
    return SPLIT_WORDS.get(text.strip().lower())


def make_splits(
    targets: np.ndarray, groups: Sequence[str] | None, seed: int, fractions: Mapping[str, float]
) -> np.ndarray:
    """Name a split for each image.

    Classes are handled from the rarest on: each unit (a patient, or an image where patients are unknown) goes to the
    split that lacks its class most, large patients first; what a class could not divide evenly is made up by the next
    ones, so that the totals fit too. Every class has its first unit in train, and a unit in each split once it has two
    for each. This is iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) in one pass over patients, and
    so works for multi-label targets as well.

    Args:
        targets: Class indices (n,), or 0 and 1, (n, classes), multi-label.
        groups: Patient of each image; all images of one stay in one split.
        seed: Decides which units go where.
        fractions: Share of each split, `train` among them; their sum is 1.

    Returns:
        (n,) of split names, str.

    Raises:
        InputError: There are fewer units than splits.
    """
    names = ["train", *(name for name in fractions if name != "train")]
    shares = np.array([fractions[name] for name in names], dtype=np.float64)
    unit_of, counts = count_units(targets, groups)
    if len(counts) < len(names):
        kind = "images" if groups is None else "patients"
        raise InputError(f"{len(counts)} {kind} cannot be cut into {', '.join(names)}; add more or give the splits")
    sizes = np.bincount(unit_of, minlength=len(counts))
    units = assign(counts, sizes, shares, _choose, np.random.default_rng(seed))
    _fill_empty(units, counts, len(names))
    _give_train_each_class(units, counts)
    return np.array(names)[units[unit_of]]


def count_units(targets: np.ndarray, groups: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """The unit of each image, (n,), and the images of each class in each unit, (units, classes).

    Multi-label targets have one class more here, of the images without any label.
    """
    unit_of = np.arange(len(targets)) if groups is None else np.unique(groups, return_inverse=True)[1]
    labels = _one_hot(targets)
    counts = np.zeros((int(unit_of.max(initial=-1)) + 1, labels.shape[1]), dtype=np.int64)
    np.add.at(counts, unit_of, labels)
    return unit_of, counts


def _one_hot(targets: np.ndarray) -> np.ndarray:
    """(n, classes) of 0 and 1; a last column marks multi-label images that have no label at all."""
    if targets.ndim == 1:
        return np.eye(int(targets.max(initial=0)) + 1, dtype=np.int64)[targets]
    return np.column_stack([targets, targets.sum(axis=1) == 0]).astype(np.int64)


Choose = Callable[[np.ndarray, np.ndarray, int], int]


def assign(
    counts: np.ndarray, sizes: np.ndarray, shares: np.ndarray, choose: Choose, rng: np.random.Generator
) -> np.ndarray:
    """Deal units out to splits, class by class from the rarest on.

    Args:
        counts: Images of each class in each unit, (units, classes).
        sizes: Images of each unit, (units,).
        shares: Of each split, their sum is 1.
        choose: Gives the split of the next unit of a class, from what each split lacks, (splits,), what each has of the
            class, (splits,), and how many units of it are dealt out.
        rng: Decides among equals.

    Returns:
        Index of the split of each unit, (units,).
    """
    order = rng.permutation(len(counts))
    order = order[np.argsort(-sizes[order], kind="stable")]
    split_of = np.full(len(counts), -1)
    for label in _rarest_first(counts):
        members = [unit for unit in order if counts[unit, label] and split_of[unit] < 0]
        placed = split_of >= 0
        here = np.bincount(split_of[placed], counts[placed, label], minlength=len(shares))
        total = np.bincount(split_of[placed], sizes[placed], minlength=len(shares))
        need = shares * counts[:, label].sum() - here + shares * total.sum() - total
        for unit in members:
            split = choose(need, here, len(members))
            split_of[unit] = split
            need[split] -= counts[unit, label]
            here[split] += counts[unit, label]
    return split_of


def _choose(need: np.ndarray, here: np.ndarray, members: int) -> int:
    """The split of the next unit of a class, from what each split lacks and has of it, and its number of units."""
    empty = np.flatnonzero(here == 0)
    if len(empty) and (empty[0] == 0 or members >= 2 * len(here)):
        return int(empty[0])
    return int(need.argmax())


def _rarest_first(counts: np.ndarray) -> np.ndarray:
    present = np.flatnonzero(counts.any(axis=0))
    return present[np.argsort((counts[:, present] > 0).sum(axis=0), kind="stable")]


def _fill_empty(split_of: np.ndarray, counts: np.ndarray, splits: int) -> None:
    """Give a split that got nothing (very small data) one unit of the commonest class in train, in place."""
    for split in range(1, splits):
        if not (split_of == split).any():
            in_train = np.flatnonzero(split_of == 0)
            common = int(counts[in_train].sum(axis=0).argmax())
            split_of[max(in_train, key=lambda unit: counts[unit, common])] = split


def _give_train_each_class(split_of: np.ndarray, counts: np.ndarray) -> None:
    """Move a unit into train for each class that has none there, in place, unless that would empty a split.

    It happens where patients have images of several classes, and rarer ones of them decided where the patients go.
    """
    for label in np.flatnonzero(counts.any(axis=0) & ~counts[split_of == 0].any(axis=0)):
        owners = np.flatnonzero(counts[:, label])
        beside = np.array([(split_of == split_of[unit]).sum() for unit in owners])
        if beside.max() > 1:
            split_of[owners[beside.argmax()]] = 0
