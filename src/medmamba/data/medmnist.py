"""MedMNIST arrays: a `.npz` of any size, or one of the twelve names, looked up or downloaded."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import urllib.request
from functools import partial
from http.client import HTTPException
from pathlib import Path

import numpy as np

from medmamba.data.arrays import BROKEN, LARGE, Header, Later, Mapped, open_array, read_header
from medmamba.data.catalogue import MEDMNIST, RECORD, SIZES, Row, recognise
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.listing import task_of
from medmamba.errors import InputError
from medmamba.tasks import Task
from medmamba.writing import replacing

__all__ = ["MEDMNIST", "open_named", "open_npz", "parse_name"]

_SPLITS = ("train", "val", "test")
_NAME = re.compile(r"(?P<name>[a-z]+mnist)(?:[_@](?P<size>\d+))?(?P<rest>$|[^a-z0-9].*)")


def parse_name(text: str) -> tuple[Row, int] | None:
    """The set and size that `breastmnist`, `breastmnist@64` or `breastmnist_64` name; None for any other text.

    Raises:
        InputError: The set is known, the size is not.
    """
    match = _NAME.fullmatch(text.strip().lower())
    if match is None or match["rest"] or match["name"] not in MEDMNIST:
        return None
    size = int(match["size"] or 28)
    if size not in SIZES:
        raise InputError(f"{match['name']} has no size {size}; choose one of {', '.join(map(str, SIZES))}")
    return MEDMNIST[match["name"]], size


def open_named(row: Row, size: int, *, task: Task | None = None) -> Dataset:
    """Open a set by name, from `$MEDMAMBA_DATA`, its `medmnist` folder or `~/.medmnist`; else download it to the last.

    Raises:
        InputError: The file is not to be had, is damaged, or holds images of another size.
    """
    home = Path.home() / ".medmnist"
    root = os.environ.get("MEDMAMBA_DATA")
    folders = [Path(root), Path(root, "medmnist"), home] if root else [home]
    found = [folder / row.file_name(size) for folder in folders if (folder / row.file_name(size)).is_file()]
    path = found[0] if found else download(row, size, home)
    return open_npz(path, task=task, size=size)


def open_npz(path: Path, *, task: Task | None = None, size: int | None = None, large: int = LARGE) -> Dataset:
    """Open a MedMNIST file; only headers, the train labels of an unknown set and the checksum are read at once.

    The images of a split are read when it is opened, or mapped from disk if they are many.

    Task and class names are those of the set that the file's name begins with (`breastmnist_64`,
    `pneumoniamnist_mine`); of another file they are told by the labels, and the classes are called 0, 1, 2 and so on.

    Args:
        path: Holds train_images, train_labels and the same for val and test.
        task: Overrules the task.
        size: Height and width that the images must have; None takes the one in the name, if any.
        large: Bytes from which the images of a split are mapped.

    Raises:
        InputError: The file is damaged or incomplete, or does not go with the task or the size.
    """
    match = _NAME.fullmatch(path.stem.lower())
    row = MEDMNIST.get(match["name"]) if match else None
    stated = int(match["size"]) if match and match["size"] in map(str, SIZES) else None
    headers = {name: _header(path, name) for split in _SPLITS for name in (f"{split}_images", f"{split}_labels")}
    _check_images(path, {split: headers[f"{split}_images"] for split in _SPLITS}, size or stated)
    height, width = headers["train_images"].shape[1:3]
    columns = _label_columns(path, headers)
    classes, own_task = _meaning(path, row, columns)
    task = _agreed_task(path, task, own_task, columns, classes)
    return Dataset(
        name=path.stem,
        task=task,
        classes=classes,
        splits={split: partial(_open_split, path, split, classes, task, large) for split in _SPLITS},
        positive=(row.positive if row else -1) % len(classes),
        notes=_notes(path, row, height, headers),
        size=(height, width),
        sources=row.sources if row else recognise(path.stem),
    )


def _header(path: Path, member: str) -> Header:
    try:
        return read_header(path, member)
    except InputError:
        raise
    except BROKEN as error:
        raise _damaged(path, error) from error


def _array(path: Path, member: str, large: int = LARGE) -> np.ndarray | Mapped:
    try:
        return open_array(path, member, large=large)
    except InputError:
        raise
    except BROKEN as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged or truncated ({error}); delete it and get it again from {RECORD}")


def _check_images(path: Path, headers: dict[str, Header], size: int | None) -> None:
    train = headers["train"].shape
    for split, header in headers.items():
        shape, dtype = header.shape, header.dtype
        if dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] != 3):
            expected = "uint8 (n, h, w) or (n, h, w, 3); volumes are not supported"
            raise InputError(f"{path} has {split}_images of {dtype} {shape}; expected {expected}")
        if shape[1:] != train[1:]:
            raise InputError(f"{path} has images of {train[1:]} in train and {shape[1:]} in {split}")
        if size is not None and shape[1:3] != (size, size):
            raise InputError(f"{path} holds images of {shape[1]} x {shape[2]}, not {size} x {size}; get the right file")


def _label_columns(path: Path, headers: dict[str, Header]) -> int:
    """Number of columns of the labels; 1 for a single label an image, (n,) or (n, 1)."""
    train = headers["train_labels"].shape
    for split in _SPLITS:
        labels, images = headers[f"{split}_labels"], headers[f"{split}_images"]
        shape, dtype = labels.shape, labels.dtype
        if len(shape) not in (1, 2) or dtype.kind not in "iub" or shape[0] != images.shape[0]:
            raise InputError(f"{path} has {split}_labels of {dtype} {shape}; expected integers, one row an image")
        if shape[1:] != train[1:]:
            raise InputError(f"{path} has labels of different shapes in train and {split}")
    return int(np.prod(train[1:]))


def _meaning(path: Path, row: Row | None, columns: int) -> tuple[tuple[str, ...], Task | None]:
    """Class names and task of a set: those of its row, or what the labels show."""
    if row is not None:
        expected = len(row.classes) if row.task is Task.MULTILABEL else 1
        if columns != expected:
            raise InputError(f"{path} has {columns} label columns, but {row.name} has {expected}; rename the file")
        return row.classes, row.task
    if columns > 1:
        return tuple(map(str, range(columns))), Task.MULTILABEL
    classes = int(_labels(path, "train").max(initial=0)) + 1
    return tuple(map(str, range(classes))), None


def _agreed_task(path: Path, asked: Task | None, own: Task | None, columns: int, classes: tuple[str, ...]) -> Task:
    task = asked or own
    if columns > 1 and task is not Task.MULTILABEL:
        raise InputError(f"{path} has {columns} labels an image, so its task is multi-label, not {task}; ask for that")
    if columns == 1 and task is Task.MULTILABEL:
        raise InputError(f"{path} has one label an image, so its task is not multi-label; leave the task out")
    return task_of(task, classes, str(path))


def _notes(path: Path, row: Row | None, size: int, headers: dict[str, Header]) -> tuple[str, ...]:
    if row is None:
        return (f"{path.name} is no known MedMNIST set: its task is told by the labels and its classes are numbers",)
    if md5(path) == row.md5.get(size):
        return ()
    notes = [f"{path.name} is not the official file: its checksum differs"]
    counts = tuple(headers[f"{split}_labels"].shape[0] for split in _SPLITS)
    if counts != row.counts:
        notes.append(f"{path.name} has {counts} images in train, val and test, the official file {row.counts}")
    return tuple(notes)


def md5(path: Path) -> str:
    """The checksum of a file, as MedMNIST publishes it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _labels(path: Path, split: str) -> np.ndarray:
    labels = _array(path, f"{split}_labels", sys.maxsize)
    assert isinstance(labels, np.ndarray)
    return labels


def _open_split(path: Path, split: str, classes: tuple[str, ...], task: Task, large: int) -> ImageSet:
    labels = _labels(path, split)
    targets = labels.astype(np.int64) if task is Task.MULTILABEL else labels.reshape(-1).astype(np.int64)
    highest = 1 if task is Task.MULTILABEL else len(classes) - 1
    if targets.size and (targets.min() < 0 or targets.max() > highest):
        raise InputError(f"{path} has a label {targets.max()} in {split}; expected 0 to {highest}")
    names = tuple(f"{split}/{index}" for index in range(len(targets)))
    member = f"{split}_images"
    header = _header(path, member)
    is_large = header.size >= max(large, 1)
    array = Later(partial(_array, path, member, large), header) if is_large else _array(path, member)
    return ImageSet(names=names, targets=targets, array=array)


def download(row: Row, size: int, folder: Path) -> Path:
    """Fetch the official file into a folder; it appears there only when its checksum is right.

    Raises:
        InputError: No network, or other bytes than the official ones; the message has the manual steps.
    """
    name = row.file_name(size)
    url = f"{RECORD}/files/{name}?download=1"
    manual = f"download {name} from {RECORD} and put it into {folder} or the folder that MEDMAMBA_DATA names"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / name) as file, urllib.request.urlopen(url, timeout=60) as answer:
            found = hashlib.md5(usedforsecurity=False)
            while piece := answer.read(1 << 20):
                found.update(piece)
                file.write(piece)
            if found.hexdigest() != row.md5[size]:
                raise InputError(f"the download of {name} has a wrong checksum; {manual}")
        return folder / name
    except (OSError, HTTPException) as error:
        raise InputError(f"{name} is not on this machine and cannot be downloaded ({error}); {manual}") from error
