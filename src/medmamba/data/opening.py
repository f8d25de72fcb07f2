"""The one door to data: whatever a user names becomes a `Dataset`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from medmamba.data import folders, medmnist, phantoms, tables
from medmamba.data.catalogue import CATALOGUE, recognise_all
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.faults import check_allowed
from medmamba.data.listing import Listing, few, make_dataset, with_note, without
from medmamba.errors import InputError, suggest
from medmamba.tasks import Task


def open_data(
    spec: str | os.PathLike[str],
    *,
    task: str | None = None,
    group_column: str | None = None,
    positive: str | None = None,
    seed: int = 0,
    classes: tuple[str, ...] | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
    leave_out: Collection[str] = (),
) -> Dataset:
    """Open images with labels.

    Args:
        spec: A folder of class folders (with or without train, val and test); a CSV or TSV table; a folder that holds
            one of splits.csv and labels.csv; a MedMNIST `.npz`; the name of a MedMNIST set (`breastmnist`,
            `breastmnist@64`); or `phantoms`, `phantoms:N`. A name goes before a folder called the same: write
            `./breastmnist` for the folder.
        task: `binary`, `multi-class`, `multi-label` or `ordinal`; None lets the data decide.
        group_column: The patient column of a table, if it is not called patient or group.
        positive: The class of a binary task whose sensitivity is asked for; None for the last one, or what is known of
            the data set.
        seed: Decides the splits that are missing, and the phantoms.
        classes: The class order of a trained model; labels are mapped to it by name. None sorts class names as text
            (`0, 1, 10, 2`); a MedMNIST file keeps its own order.
        label_columns: Columns of 0 and 1 in a table, one for each label of a multi-label task; the classes are in this
            order.
        allow: Faults to go on in spite of, names of `medmamba.data.faults.FAULTS`; those that were found stand in
            `Dataset.allowed`.
        leave_out: Names of images of a folder or table to pass over.

    Raises:
        RowsError: Some images cannot be used, which it names.
        InputError: The data cannot be used; the message says what to do.
    """
    check_allowed(allow)
    asked = _task_of_columns(parse_task(task), label_columns)
    text = os.fspath(spec)
    if _is_array(text):
        _refuse_columns(f"{text} is no table", group_column, label_columns, "leave it out")
    if text == "phantoms" or text.startswith("phantoms:"):
        data = phantoms.open_phantoms(text, seed=seed)
    elif named := medmnist.parse_name(text):
        data = medmnist.open_named(*named, task=asked)
    elif Path(text).suffix.lower() == ".npz":
        data = medmnist.open_npz(_existing(text), task=asked)
    else:
        listing = _listing(
            _existing(text), group_column, label_columns, allow, trained=classes is not None, leave_out=leave_out
        )
        data = make_dataset(listing, task=asked, classes=classes, seed=seed)
        data = replace(data, sources=recognise_all(_places(listing, text)), folder=_scanned(text))
    data = data if classes is None else reorder(data, classes)
    return data if positive is None else _with_positive(data, positive)


def check_outside(out: str | os.PathLike[str], data: Dataset | str | os.PathLike[str]) -> None:
    """Refuse a place for results in the folder that the images of a data set are looked for in.

    A plot there would be taken for an image the next time, and the folder that holds it for a class. Tables and arrays
    name their images themselves, so that a place beside these is as good as any.

    Args:
        out: File or folder that is to be written, there or not.
        data: What `open_data` takes or gave.

    Raises:
        InputError: It lies in the data.
    """
    root = data.folder if isinstance(data, Dataset) else _scanned(os.fspath(data))
    if root is not None and folders.is_searched(root, Path(out)):
        raise InputError(f"the results would go to {out}, which lies in the data {root}; name another place with --out")


def _is_array(text: str) -> bool:
    """Whether a text means pixels without files: phantoms, a MedMNIST set by its name, or a `.npz`."""
    named = text.split(":")[0] == "phantoms" or medmnist.parse_name(text) is not None
    return named or text.lower().endswith(".npz")


def _scanned(text: str) -> Path | None:
    """The folder of class folders that a text means, whose images are looked for; None for anything else."""
    path = Path(text)
    if _is_array(text) or not os.path.isdir(path) or any((path / name).is_file() for name in tables.FOLDER_TABLES):
        return None
    return path


def _with_positive(data: Dataset, name: str) -> Dataset:
    if data.task is not Task.BINARY:
        raise InputError(f"{data.name} is a {data.task} data set, which has no positive class; leave {name!r} out")
    if name not in data.classes:
        hint = suggest(name, data.classes)
        raise InputError(f"{name!r} cannot be the positive class of {data.name}; it has {few(data.classes)}{hint}")
    return replace(data, positive=data.classes.index(name))


def parse_task(task: str | None) -> Task | None:
    """The task of that name.

    Raises:
        InputError: There is none.
    """
    if task is None:
        return None
    names = tuple(member.value for member in Task)
    if task not in names:
        raise InputError(f"there is no task {task!r}{suggest(task, names)}; choose one of {', '.join(names)}")
    return Task(task)


def _task_of_columns(task: Task | None, label_columns: Sequence[str]) -> Task | None:
    if not label_columns:
        return task
    if task not in (None, Task.MULTILABEL):
        raise InputError(f"label columns are several answers an image, not a {task} task; leave the task out")
    return Task.MULTILABEL


def _refuse_columns(why: str, group_column: str | None, label_columns: Sequence[str], remedy: str) -> None:
    if asked := [name for name in (group_column, *label_columns) if name is not None]:
        raise InputError(f"{why}, so it has no column {asked[0]!r}; {remedy}")


def _places(listing: Listing, text: str) -> set[str]:
    """Names that may tell which collections the images come from.

    They are those of the data, of the folder of a table, of every folder below the one that holds all images, of that
    one, and of the folder above it. The images of a table may come from several collections.
    """
    folders = {Path(os.path.abspath(folder)) for folder in {file.parent for file in listing.files}}
    try:
        top = Path(os.path.commonpath(folders)).parent
    except ValueError:  # no file, or on several drives
        top = None
    found: set[Path] = set()
    for folder in folders:
        for place in (folder, *folder.parents):
            if place in found:
                break  # and so is what is above it
            found.add(place)
            if place == top:
                break
    return {listing.name, Path(text).absolute().parent.name, *(place.name for place in found)}


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        names = ("phantoms", *CATALOGUE)
        if (row := CATALOGUE.get(text.strip().lower())) is not None:
            raise InputError(f"{row.title} cannot be opened by its name: {row.get}")
        raise InputError(f"{text} is no file, no folder and no data set's name{suggest(text, names)}; check the path")
    return path


def _listing(
    path: Path,
    group_column: str | None,
    label_columns: Sequence[str],
    allow: Collection[str],
    *,
    trained: bool,
    leave_out: Collection[str],
) -> Listing:
    read = partial(
        tables.read_table,
        group_column=group_column,
        label_columns=label_columns,
        allow=allow,
        trained=trained,
        leave_out=leave_out,
    )
    if path.is_file():
        if path.suffix.lower() not in tables.EXTENSIONS:
            raise InputError(f"{path} is no data set; expected a folder, a .csv or .tsv table, or a MedMNIST .npz")
        return read(path)
    there = [name for name in tables.FOLDER_TABLES if (path / name).is_file()]
    if len(there) > 1:
        raise InputError(f"{path} holds both {' and '.join(there)}; name the table to use")
    if there:
        return with_note(read(path / there[0]), f"labels are those of {there[0]} in the folder")
    _refuse_columns(f"{path} is a folder without a table", group_column, label_columns, "name a table")
    return without(folders.read_folder(path, allow=allow, trained=trained), leave_out)


def reorder(data: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The same data with targets that index `classes`, matched by name.

    Raises:
        InputError: The data has a class that is not among `classes`.
    """
    extra = [name for name in data.classes if name not in classes]
    if extra:
        raise InputError(
            f"{data.name} has classes that the trained model does not know: {few(extra)}; it knows {few(classes)}"
        )
    if data.classes == classes:
        return data
    splits = {name: partial(_reordered, opener, data.classes, classes) for name, opener in data.splits.items()}
    positive = classes.index(data.classes[data.positive])
    return replace(data, classes=classes, splits=splits, positive=positive)


def _reordered(opener: Callable[[], ImageSet], old: tuple[str, ...], new: tuple[str, ...]) -> ImageSet:
    images = opener()
    index = np.array([new.index(name) for name in old])
    if images.targets.ndim == 1:
        return replace(images, targets=index[images.targets])
    targets = np.zeros((len(images), len(new)), dtype=np.int64)
    targets[:, index] = images.targets
    return replace(images, targets=targets)
