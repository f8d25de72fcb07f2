"""A folder of class folders, with or without train, val and test above them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

from medmamba.data.finding import is_litter, skipped_sentence, walk_images
from medmamba.data.listing import Listing, few
from medmamba.data.splits import split_word
from medmamba.errors import InputError


def read_folder(root: Path, *, allow_empty: bool = False) -> Listing:
    """List the images of `root/class/...` or `root/split/class/...`, classes at any depth, sorted by path.

    Args:
        root: The folder.
        allow_empty: Whether a class folder without images may stand in train, as when a trained model is evaluated.

    Raises:
        InputError: There are no class folders, two folders for one split, or an empty class folder in train.
    """
    given = _split_folders(root)
    places = given or {"": root}
    names: list[str] = []
    files: list[Path] = []
    labels: list[str] = []
    splits: list[str] = []
    notes: list[str] = []
    skipped: Counter[str] = Counter()
    for split, folder in places.items():
        for class_folder in _folders_in(folder):
            found, others = walk_images(class_folder)
            skipped += others
            if not found:
                _empty(class_folder, others, notes, fatal=split in ("", "train") and not allow_empty)
            files += found
            names += [path.relative_to(root).as_posix() for path in found]
            # the same accented name is stored differently by different systems
            labels += [unicodedata.normalize("NFC", class_folder.name)] * len(found)
            splits += [split] * len(found)
    if not files:
        raise InputError(f"{root} holds no images in class folders; expected {root.name}/CLASS/IMAGE or a table")
    if skipped:
        notes.append(skipped_sentence(skipped))
    notes += _loose(root, given)
    return Listing(
        name=root.resolve().name,
        names=tuple(names),
        files=tuple(files),
        labels=tuple(labels),
        splits=tuple(splits) if given else None,
        notes=tuple(notes),
    )


def _folders_in(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.is_dir() and not is_litter(path.name)), key=_by_name)


def _by_name(path: Path) -> str:
    return path.name


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits, train first; empty if the folders below are classes."""
    found: dict[str, Path] = {}
    for folder in _folders_in(root):
        split = split_word(folder.name)
        if split is None:
            continue
        if split in found:
            raise InputError(f"{root} has two {split} folders, {found[split].name} and {folder.name}; keep one")
        found[split] = folder
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def _empty(folder: Path, skipped: Counter[str], notes: list[str], *, fatal: bool) -> None:
    passed = f" ({skipped_sentence(skipped)})" if skipped else ""
    if fatal:
        raise InputError(f"the class folder {folder} holds no images{passed}; fill it or remove it")
    notes.append(f"the class folder {folder} holds no images{passed}")


def _loose(root: Path, given: dict[str, Path]) -> list[str]:
    """What stands beside the folders that were read."""
    notes = []
    images = [path.name for path in sorted(root.iterdir()) if path.is_file() and not is_litter(path.name)]
    if images:
        notes.append(f"not used, because they are in no class folder: {few(images)}")
    others = [path.name for path in _folders_in(root) if given and path not in given.values()]
    if others:
        notes.append(f"not used, because they are no split: the folders {few(others)}")
    return notes
