"""MedMNIST arrays: a `.npz` of any size, or one of the twelve names, looked up or downloaded."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import urllib.request
import zipfile
import zlib
from functools import partial
from http.client import HTTPException
from pathlib import Path

import numpy as np

from medmamba.data.catalogue import MEDMNIST, RECORD, SIZES, MedMNISTRow
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.listing import task_of
from medmamba.errors import InputError
from medmamba.tasks import Task

__all__ = ["MEDMNIST", "open_named", "open_npz", "parse_name"]

_SPLITS = ("train", "val", "test")
_NAME = re.compile(r"(?P<name>[a-z]+mnist)(?:[_@](?P<size>\d+))?(?P<rest>$|[^a-z0-9].*)")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, KeyError)


def parse_name(text: str) -> tuple[MedMNISTRow, int] | None:
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


def open_named(row: MedMNISTRow, size: int, *, task: Task | None = None) -> Dataset:
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


def open_npz(path: Path, *, task: Task | None = None, size: int | None = None) -> Dataset:
    """Open a MedMNIST file; only headers, the train labels of an unknown set and the checksum are read at once.

    Task and class names are those of the set that the file's name begins with (`breastmnist_64`,
    `pneumoniamnist_mine`); of another file they are told by the labels, and the classes are called 0, 1, 2 and so on.

    Args:
        path: Holds train_images, train_labels and the same for val and test.
        task: Overrules the task.
        size: Height and width that the images must have; None takes the one in the name, if any.

    Raises:
        InputError: The file is damaged or incomplete, or does not go with the task or the size.
    """
    match = _NAME.fullmatch(path.stem.lower())
    row = MEDMNIST.get(match["name"]) if match else None
    stated = int(match["size"]) if match and match["size"] in map(str, SIZES) else None
    shapes = {name: _header(path, name) for split in _SPLITS for name in (f"{split}_images", f"{split}_labels")}
    _check_images(path, {split: shapes[f"{split}_images"] for split in _SPLITS}, size or stated)
    height, width = shapes["train_images"][0][1:3]
    columns = _label_columns(path, shapes)
    classes, own_task = _meaning(path, row, columns)
    task = _agreed_task(path, task, own_task, columns, classes)
    return Dataset(
        name=path.stem,
        task=task,
        classes=classes,
        splits={split: partial(_open_split, path, split, classes, task) for split in _SPLITS},
        positive=(row.positive if row else -1) % len(classes),
        notes=_notes(path, row, height, shapes),
        size=(height, width),
    )


def _header(path: Path, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, without unpacking it."""
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{member}.npy" not in archive.namelist():
                raise InputError(f"{path} has no array {member}; a MedMNIST file has images and labels of all splits")
            with archive.open(f"{member}.npy") as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
    except InputError:
        raise
    except _BROKEN as error:
        raise _damaged(path, error) from error
    return shape, dtype


def _array(path: Path, member: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[member]
    except _BROKEN as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged or truncated ({error}); delete it and get it again from {RECORD}")


def _check_images(path: Path, headers: dict[str, tuple[tuple[int, ...], np.dtype]], size: int | None) -> None:
    for split, (shape, dtype) in headers.items():
        if dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] != 3):
            expected = "uint8 (n, h, w) or (n, h, w, 3); volumes are not supported"
            raise InputError(f"{path} has {split}_images of {dtype} {shape}; expected {expected}")
        if shape[1:] != headers["train"][0][1:]:
            raise InputError(f"{path} has images of {headers['train'][0][1:]} in train and {shape[1:]} in {split}")
        if size is not None and shape[1:3] != (size, size):
            raise InputError(f"{path} holds images of {shape[1]} x {shape[2]}, not {size} x {size}; get the right file")


def _label_columns(path: Path, shapes: dict[str, tuple[tuple[int, ...], np.dtype]]) -> int:
    """Number of columns of the labels; 1 for a single label an image, (n,) or (n, 1)."""
    for split in _SPLITS:
        shape, dtype = shapes[f"{split}_labels"]
        if len(shape) not in (1, 2) or dtype.kind not in "iub" or shape[0] != shapes[f"{split}_images"][0][0]:
            raise InputError(f"{path} has {split}_labels of {dtype} {shape}; expected integers, one row an image")
        if shape[1:] != shapes["train_labels"][0][1:]:
            raise InputError(f"{path} has labels of different shapes in train and {split}")
    return int(np.prod(shapes["train_labels"][0][1:]))


def _meaning(path: Path, row: MedMNISTRow | None, columns: int) -> tuple[tuple[str, ...], Task | None]:
    """Class names and task of a set: those of its row, or what the labels show."""
    if row is not None:
        expected = len(row.classes) if row.task is Task.MULTILABEL else 1
        if columns != expected:
            raise InputError(f"{path} has {columns} label columns, but {row.name} has {expected}; rename the file")
        return row.classes, row.task
    if columns > 1:
        return tuple(map(str, range(columns))), Task.MULTILABEL
    classes = int(_array(path, "train_labels").max(initial=0)) + 1
    return tuple(map(str, range(classes))), None


def _agreed_task(path: Path, asked: Task | None, own: Task | None, columns: int, classes: tuple[str, ...]) -> Task:
    task = asked or own
    if columns > 1 and task is not Task.MULTILABEL:
        raise InputError(f"{path} has {columns} labels an image, so its task is multi-label, not {task}; ask for that")
    if columns == 1 and task is Task.MULTILABEL:
        raise InputError(f"{path} has one label an image, so its task is not multi-label; leave the task out")
    return task_of(task, classes, str(path))


def _notes(
    path: Path, row: MedMNISTRow | None, size: int, shapes: dict[str, tuple[tuple[int, ...], np.dtype]]
) -> tuple[str, ...]:
    if row is None:
        return (f"{path.name} is no known MedMNIST set: its task is told by the labels and its classes are numbers",)
    if _md5(path) == row.md5.get(size):
        return ()
    notes = [f"{path.name} is not the official file: its checksum differs"]
    counts = tuple(shapes[f"{split}_labels"][0][0] for split in _SPLITS)
    if counts != row.counts:
        notes.append(f"{path.name} has {counts} images in train, val and test, the official file {row.counts}")
    return tuple(notes)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _open_split(path: Path, split: str, classes: tuple[str, ...], task: Task) -> ImageSet:
    labels = _array(path, f"{split}_labels")
    targets = labels.astype(np.int64) if task is Task.MULTILABEL else labels.reshape(-1).astype(np.int64)
    highest = 1 if task is Task.MULTILABEL else len(classes) - 1
    if targets.size and (targets.min() < 0 or targets.max() > highest):
        raise InputError(f"{path} has a label {targets.max()} in {split}; expected 0 to {highest}")
    names = tuple(f"{split}/{index}" for index in range(len(targets)))
    return ImageSet(names=names, targets=targets, array=_array(path, f"{split}_images"))


def download(row: MedMNISTRow, size: int, folder: Path) -> Path:
    """Fetch the official file into a folder; it appears there only when its checksum is right.

    Raises:
        InputError: No network, or other bytes than the official ones; the message has the manual steps.
    """
    name = row.file_name(size)
    url = f"{RECORD}/files/{name}?download=1"
    manual = f"download {name} from {RECORD} and put it into {folder} or the folder that MEDMAMBA_DATA names"
    temporary = folder / f".{name}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file, urllib.request.urlopen(url, timeout=60) as answer:
            shutil.copyfileobj(answer, file, 1 << 20)
        if _md5(temporary) != row.md5[size]:
            raise InputError(f"the download of {name} has a wrong checksum; {manual}")
        return temporary.replace(folder / name)
    except (OSError, HTTPException) as error:
        raise InputError(f"{name} is not on this machine and cannot be downloaded ({error}); {manual}") from error
    finally:
        temporary.unlink(missing_ok=True)
