"""What every source of images becomes: a `Dataset` of splits, each an `ImageSet` of pixels, targets and patients."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medmamba.data.arrays import Chosen, Joined, Pixels
from medmamba.data.reading import DEFAULT, read_image
from medmamba.data.settings import Reading
from medmamba.errors import InputError, suggest
from medmamba.tasks import Task
from medmamba.writing import write_atomically

ALL = "all"  # the name that stands for every split at once


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one split, in a fixed order. Files are read one by one when asked for.

    Attributes:
        names: What each image is called in tables: its path relative to the data, or `train/17` in an array.
        targets: Class indices (n,), int64; for a multi-label task 0 or 1, (n, classes), int64.
        groups: Patient of each image, or None where patients are unknown.
        files: Path of each image, or None if they stand in `array`.
        array: (n, h, w) or (n, h, w, 3), uint8, in memory or on disk, or None if they stand in `files`. Take images out
            of it one by one: as a whole it may not fit into memory.
        attributes: What else a table says of each image, by column: site, device, sex and the like.
        unit: What `groups` names: `patient`, or `group` where a table says no more than that.
    """

    names: tuple[str, ...]
    targets: np.ndarray
    groups: tuple[str, ...] | None = None
    files: tuple[Path, ...] | None = None
    array: Pixels | None = None
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unit: str = "patient"

    def __post_init__(self) -> None:
        if (self.files is None) == (self.array is None):
            raise ValueError("an image set has either files or an array, and not both")
        columns: dict[str, Any] = {
            "targets": self.targets,
            "groups": self.groups,
            "files": self.files,
            "array": self.array,
            **self.attributes,
        }
        for name, column in columns.items():
            if column is not None and len(column) != len(self.names):
                raise ValueError(f"{len(self.names)} names but {len(column)} {name}")

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int, reading: Reading = DEFAULT, *, tell: bool = True) -> np.ndarray:
        """Pixels of one image, uint8, (h, w) if grey or (h, w, 3) if RGB.

        Args:
            index: Its place in the order.
            reading: How files are read; an array is pixels already.
            tell: As for `medmamba.data.read_image`.

        Raises:
            InputError: The file cannot be read; the message names it.
        """
        if self.array is not None:
            return np.asarray(self.array[index])
        assert self.files is not None
        return read_image(self.files[index], reading, tell=tell)

    def take(self, rows: np.ndarray) -> ImageSet:
        """Some of the images, in the order of `rows`, places counted from 0; no pixel is read or copied."""
        places = [int(row) for row in rows]
        return ImageSet(
            names=tuple(self.names[row] for row in places),
            targets=self.targets[places],
            groups=None if self.groups is None else tuple(self.groups[row] for row in places),
            files=None if self.files is None else tuple(self.files[row] for row in places),
            array=None if self.array is None else Chosen(self.array, places),
            attributes={title: tuple(cells[row] for row in places) for title, cells in self.attributes.items()},
            unit=self.unit,
        )


class Pictures(Protocol):
    """What batches are made of: the images of a split, or of several ones (`training/mixture.py`).

    Attributes:
        targets: Of all images, (n, ...).
        array: As of `ImageSet`.
    """

    @property
    def targets(self) -> np.ndarray: ...

    @property
    def array(self) -> Pixels | None: ...

    def __len__(self) -> int: ...

    def read(self, index: int, reading: Reading = DEFAULT, *, tell: bool = True) -> np.ndarray:
        """Pixels of one image, as `ImageSet.read`."""
        ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels in splits. Nothing of a split is touched before `split` asks for it.

    Attributes:
        name: What the data is called in reports.
        task: What is asked of a model.
        classes: Class names; a target is an index into them.
        splits: How to open each split: `train`, `val`, `test`, or fewer.
        positive: Index of the positive class of a binary task.
        notes: Sentences worth telling the user.
        size: (h, w) where all images share it by construction, else None.
        made_splits: Names of the splits that were cut here, from the seed, because the data came without them.
        allowed: Faults that were found and allowed, as `medmamba.data.faults.settle_fault` puts them.
        sources: Collections of the catalogue that the images come from, as far as names tell.
        folder: Where its class folders were found; None for a table or an array.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    splits: Mapping[str, Callable[[], ImageSet]]
    positive: int
    notes: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    made_splits: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    folder: Path | None = None

    def split(self, name: str) -> ImageSet:
        """Open one split, or all of them as one with the name `all`.

        Raises:
            InputError: There is no such split; the message names those there are.
        """
        if name == ALL:
            return _joined([self.splits[each]() for each in self.splits])
        if name not in self.splits:
            there = ", ".join(self.splits)
            raise InputError(f"{self.name} has no split {name!r}, only {there}{suggest(name, tuple(self.splits))}")
        return self.splits[name]()

    def fingerprint(self) -> str:
        """SHA-256 of the names and targets of train and val: the same data and splits give the same 64 digits.

        The test split and the pixels are not read.
        """
        digest = hashlib.sha256("\0".join(self.classes).encode())
        for name in ("train", "val"):
            if name in self.splits:
                images = self.split(name)
                digest.update("\0".join(("", name, *images.names)).encode())
                digest.update(np.ascontiguousarray(images.targets, dtype="<i8").tobytes())
        return digest.hexdigest()

    def write_splits(self, path: str | os.PathLike[str]) -> None:
        """Write a table file,label,split[,patient] of all splits, which `open_data` takes again. Files only.

        Paths in it are relative to the table's folder, so that both can be moved together, but absolute where the two
        have nothing in common. The labels of a multi-label task are joined by `|`.
        """
        path, text = Path(path), io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(self._table(path.parent))
        write_atomically(path, text.getvalue().encode())

    def _table(self, folder: Path) -> Iterator[list[str]]:
        place = cache(partial(_place, os.path.realpath(folder)))
        opened = {name: self.split(name) for name in self.splits}
        units = [images.unit for images in opened.values() if images.groups is not None]
        yield ["file", "label", "split", *units[:1]]
        for name, images in opened.items():
            if images.files is None:
                raise ValueError(f"the images of {self.name} are no files, their splits cannot be a table")
            for row, file in enumerate(images.files):
                group = [images.groups[row]] if images.groups is not None else []
                yield [(place(file.parent) / file.name).as_posix(), self._label(images.targets[row]), name, *group]

    def _label(self, target: np.ndarray) -> str:
        if self.task is Task.MULTILABEL:
            return "|".join(self.classes[index] for index in np.flatnonzero(target))
        return self.classes[int(target)]


def _place(home: str, folder: Path) -> Path:
    """A folder as seen from another one, real paths both: `..` behind a link would lead elsewhere."""
    there = os.path.realpath(folder)
    apart = os.path.splitdrive(home)[0] != os.path.splitdrive(there)[0]
    if apart or os.path.dirname(shared := os.path.commonpath([home, there])) == shared:
        return Path(there)
    return Path(os.path.relpath(there, home))


def _joined(parts: list[ImageSet]) -> ImageSet:
    """Several splits of one source as one."""

    def chain(columns: list[tuple[Any, ...] | None]) -> tuple[Any, ...] | None:
        return None if None in columns else tuple(item for column in columns if column is not None for item in column)

    return ImageSet(
        names=tuple(name for part in parts for name in part.names),
        targets=np.concatenate([part.targets for part in parts]),
        groups=chain([part.groups for part in parts]),
        files=chain([part.files for part in parts]),
        array=Joined([part.array for part in parts if part.array is not None]) if parts[0].files is None else None,
        attributes={
            title: tuple(cell for part in parts for cell in part.attributes[title])
            for title in parts[0].attributes
            if all(title in part.attributes for part in parts)
        },
        unit=parts[0].unit,
    )
