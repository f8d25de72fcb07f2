"""By what two data sets are known to have the same images, in the same splits or in others: digests to be recorded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from medmamba.data.dataset import Dataset, ImageSet


def content(data: Dataset) -> str:
    """SHA-256 of the classes, and of the names and targets of train and val, in whatever order they come.

    Names of files are taken from the folder that holds all of them, so that a folder and a table of it are the same:
    the one that a run wrote, say. The test split is not opened.
    """
    opened = {name: data.split(name) for name in ("train", "val") if name in data.splits}
    names = _names(opened)
    digest = hashlib.sha256("\0".join(data.classes).encode())
    for name, images in opened.items():
        digest.update(_block(name, names[name], images.targets))
    return digest.hexdigest()


def whole(data: Dataset) -> str | None:
    """SHA-256 of the classes, and of the names and targets of all images, whichever split they are in.

    Two cuts of the same files have the same. No pixel is read. None for arrays: their names are places in a split.
    """
    if data.size is not None:  # only arrays share a size by construction, and to open one may take long
        return None
    opened: dict[str, ImageSet] = {}
    for name in data.splits:
        opened[name] = data.split(name)
        if opened[name].files is None:
            return None
    digest = hashlib.sha256("\0".join(data.classes).encode())
    names = [name for each in _names(opened).values() for name in each]
    digest.update(_block("", names, np.concatenate([images.targets for images in opened.values()])))
    return digest.hexdigest()


def pixels(data: Dataset) -> str | None:
    """SHA-256 of the pixels of train and val where nothing else tells which images they are; None elsewhere.

    So it is for an array whose images are called by their rows and sorted by class: every cut of one collection has
    the same names, and the same labels if it has as many images of each class.
    """
    opened = {name: data.split(name) for name in ("train", "val") if name in data.splits}
    if not opened or not all(_are_alike(name, images) for name, images in opened.items()):
        return None
    digest = hashlib.sha256()
    for images in opened.values():
        for row in range(len(images)):
            picture = images.read(row)
            digest.update(f"\0{picture.shape}".encode())
            digest.update(np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()


def _are_alike(name: str, images: ImageSet) -> bool:
    """Whether rows stand for names, and the labels are in an order that every cut has: all of a class together."""
    if images.array is None or images.names != tuple(f"{name}/{row}" for row in range(len(images))):
        return False
    rows = images.targets.reshape(len(images), -1)
    changes = int((rows[1:] != rows[:-1]).any(axis=1).sum())
    return changes < max(1, len(np.unique(rows, axis=0)))


def _names(opened: Mapping[str, ImageSet]) -> dict[str, list[str]]:
    """Names of the images of splits: of files from the folder that holds all of them, of arrays as they are."""
    paths = {name: [os.path.abspath(file) for file in images.files or ()] for name, images in opened.items()}
    start = len(_folder_of_all({os.path.dirname(path) for each in paths.values() for path in each}))
    return {
        name: [path[start:].replace(os.sep, "/") for path in paths[name]] or list(images.names)
        for name, images in opened.items()
    }


def _block(split: str, names: Sequence[str], targets: np.ndarray) -> bytes:
    """What a digest takes of the images of a split: names and targets, in the order of the names."""
    order = sorted(range(len(names)), key=names.__getitem__)
    text = "\0".join(("", split, *(names[row] for row in order)))
    return text.encode() + np.ascontiguousarray(targets[order], dtype="<i8").tobytes()


def _folder_of_all(folders: Collection[str]) -> str:
    """The folder above several ones, with a separator at its end; an empty string where there is none."""
    try:
        return os.path.join(os.path.commonpath(folders), "")
    except ValueError:  # no folder at all, or some on other drives
        return ""
