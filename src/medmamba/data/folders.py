"""A folder of class folders, with or without train, val and test above them."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path

from medmamba.data.faults import settle_fault
from medmamba.data.finding import is_litter, skipped_sentence, walk_images
from medmamba.data.listing import Listing, few
from medmamba.data.splits import split_word
from medmamba.errors import InputError
from medmamba.text import counted


def read_folder(root: Path, *, allow: Collection[str] = (), trained: bool = False) -> Listing:
    """List the images of `root/class/...` or `root/split/class/...`, classes at any depth, sorted by path.

    Args:
        root: The folder.
        allow: Faults to go on in spite of, by name. With `empty-class` a class folder of train without images is a
            class all the same.
        trained: Whether the classes are those of a trained model, so that a class folder may be empty in train too.

    Raises:
        InputError: There are no class folders, two folders for one split, or an empty class folder in train.
    """
    given = _split_folders(root)
    names: list[str] = []
    files: list[Path] = []
    labels: list[str] = []
    splits: list[str] = []
    skipped: Counter[str] = Counter()
    empty: dict[str, list[Path]] = {}
    beside: dict[str, Counter[str]] = defaultdict(Counter)  # what the empty ones of a split hold instead
    for split, folder in (given or {"": root}).items():
        for class_folder in _folders_in(folder):
            found, others = walk_images(class_folder)
            skipped += others
            if not found:
                empty.setdefault(split or "train", []).append(class_folder)
                beside[split or "train"] += others
            files += found
            names += [path.relative_to(root).as_posix() for path in found]
            labels += [_class_of(class_folder)] * len(found)
            splits += [split] * len(found)
    said = {split: _empty([_shown(root, path) for path in paths], beside[split]) for split, paths in empty.items()}
    notes = [sentence for split, sentence in said.items() if trained or split != "train"]
    classes: tuple[str, ...] | None = None
    allowed: tuple[str, ...] = ()
    if "train" in said and not trained:
        allowed = (settle_fault("empty-class", f"{said['train']}; fill or remove what is empty", allow),)
        learnt = {label for label, split in zip(labels, splits, strict=True) if split in ("", "train")}
        classes = tuple(sorted(learnt.union(map(_class_of, empty["train"]))))
    if not files:
        raise InputError(f"{root} holds no images in class folders; expected {root.name}/CLASS/IMAGE or a table")
    if skipped:
        notes.append(skipped_sentence(skipped))
    return Listing(
        name=root.resolve().name,
        names=tuple(names),
        files=tuple(files),
        labels=tuple(labels),
        splits=tuple(splits) if given else None,
        notes=(*notes, *_loose(root, given)),
        classes=classes,
        allowed=allowed,
    )


def is_searched(root: Path, place: Path) -> bool:
    """Whether `read_folder` looks for images at a place, or would if there were a folder."""
    given = _split_folders(root)
    tops = list(given.values()) or [root]
    folders = [*tops, *(below for top in tops for below in _folders_in(top))]  # these may be links
    place, home = place.resolve(), root.resolve()
    if any(place.is_relative_to(folder.resolve()) for folder in folders):
        return True
    below = place.relative_to(home).parts if given and place.is_relative_to(home) else ()
    return bool(below) and split_word(below[0]) is not None  # a split that is not there yet


def _class_of(folder: Path) -> str:
    """Its name, in one form: the same accented name is stored differently by different systems."""
    return unicodedata.normalize("NFC", folder.name)


def _folders_in(folder: Path) -> list[Path]:
    there = [path for path in folder.iterdir() if path.is_dir() and not is_litter(path.name)]
    return sorted((path for path in there if not _leads_back(path)), key=_by_name)


def _leads_back(path: Path) -> bool:
    """Whether a link names a folder that it lies in itself, the images of which would be listed twice."""
    return path.is_symlink() and path.is_dir() and path.parent.resolve().is_relative_to(path.resolve())


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


def _shown(root: Path, folder: Path) -> str:
    """A class folder without the way to the data."""
    return f"{root.resolve().name}/{folder.relative_to(root).as_posix()}"


def _empty(places: list[str], skipped: Counter[str]) -> str:
    """Which class folders of a split hold no images, and what was passed over there."""
    kind, verb = ("folder", "holds") if len(places) == 1 else ("folders", "hold")
    return f"the class {kind} {few(places)} {verb} no images" + (f" ({skipped_sentence(skipped)})" if skipped else "")


def _loose(root: Path, given: dict[str, Path]) -> list[str]:
    """What stands beside the folders that were read."""
    notes = []
    images = [path.name for path in sorted(root.iterdir()) if path.is_file() and not is_litter(path.name)]
    if images:
        notes.append(f"not used, because they are in no class folder: {counted(len(images), 'file')} beside these")
    links = sorted(path.name for folder in (root, *given.values()) for path in folder.iterdir() if _leads_back(path))
    if links:
        notes.append(f"not followed, because they lead back to where they are: the links {few(links)}")
    others = [path.name for path in _folders_in(root) if given and path not in given.values()]
    if others:
        notes.append(f"not used, because they are no split: the folders {few(others)}")
    return notes
