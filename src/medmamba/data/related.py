"""Whether a model may have seen images already, under another data set's name.

A data set comes from collections (`catalogue.collections`), which are recognised by names. Two data sets that share one
may share images, unless they are one and the same with the same splits, which `content` tells.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from medmamba.data.catalogue import recognise
from medmamba.data.dataset import Dataset
from medmamba.data.faults import settle_fault
from medmamba.errors import InputError

FAULT = "related-data"


@dataclass(frozen=True)
class Seen:
    """A data set that a model, or one that it started from, was trained on.

    Attributes:
        name: Of the data set.
        fingerprint: As `Dataset.fingerprint` gives it; None where it was not recorded.
        sources: Collections that its images come from.
        cut: Whether its splits were made by us.
        content: As `content` gives it; None where it was not recorded.
    """

    name: str
    fingerprint: str | None
    sources: tuple[str, ...]
    cut: bool = False
    content: str | None = None

    def is_same(self, data: Dataset) -> bool:
        """Whether it has the training and validation images of a data set, and so none of its test images."""
        return self.fingerprint == data.fingerprint() or self.content == content(data)

    def is_like(self, other: Seen) -> bool:
        """Whether both have the same training and validation images, as far as was recorded."""
        pairs = ((self.fingerprint, other.fingerprint), (self.content, other.content))
        return any(mine is not None and mine == theirs for mine, theirs in pairs)


def content(data: Dataset) -> str:
    """SHA-256 of the classes, and of the names and targets of train and val, in whatever order they come.

    Names of files are taken from the folder that holds all of them, so that a folder and a table of it are the same:
    the one that a run wrote, say. The test split is not opened.
    """
    opened = {name: data.split(name) for name in ("train", "val") if name in data.splits}
    paths = {name: [os.path.abspath(file) for file in images.files or ()] for name, images in opened.items()}
    start = len(_folder_of_all({os.path.dirname(path) for each in paths.values() for path in each}))
    digest = hashlib.sha256("\0".join(data.classes).encode())
    for name, images in opened.items():
        names = [path[start:].replace(os.sep, "/") for path in paths[name]] or list(images.names)
        order = sorted(range(len(names)), key=names.__getitem__)
        digest.update("\0".join(("", name, *(names[row] for row in order))).encode())
        digest.update(np.ascontiguousarray(images.targets[order], dtype="<i8").tobytes())
    return digest.hexdigest()


def _folder_of_all(folders: Collection[str]) -> str:
    """The folder above several ones, with a separator at its end; an empty string where there is none."""
    try:
        return os.path.join(os.path.commonpath(folders), "")
    except ValueError:  # no folder at all, or some on other drives
        return ""


def sources_of(data: Dataset) -> tuple[str, ...]:
    """The collections that a data set comes from, as far as names tell."""
    return data.sources or recognise(data.name)


def seen_by(provenance: Mapping[str, Any]) -> tuple[Seen, ...]:
    """What a bundle's provenance says that its model has seen, earliest first."""
    data = provenance.get("data") or {}
    if "seen" in data:
        known = [entry.name for entry in fields(Seen)]
        kept = [{name: each[name] for name in known if name in each} for each in data["seen"]]
        return tuple(Seen(**{**each, "sources": tuple(each["sources"])}) for each in kept)
    if "name" not in data:
        return ()
    cut = "made here" in str(data.get("splits", ""))
    return (Seen(str(data["name"]), data.get("fingerprint"), recognise(str(data["name"])), cut),)


def lineage(data: Dataset, before: Sequence[Seen]) -> dict[str, Any]:
    """What a bundle's provenance keeps of all data that its model has seen.

    Args:
        data: What it is trained on.
        before: What the model that it starts from has seen.

    Returns:
        `seen`, a list with an object a data set; and `sources`, the collections of all of them.
    """
    own = _seen(data)
    return _kept([*(each for each in before if each != own), own])


def united(origins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the provenance of several models that answer as one keeps of all data that any of them has seen.

    Args:
        origins: The provenance of each; of all of them, the data that they were trained on last are the same.

    Returns:
        As `lineage`; the data of the first model come last.
    """
    seen = dict.fromkeys(each for origin in origins for each in seen_by(origin))
    last = seen_by(origins[0])[-1:]
    return _kept([*(each for each in seen if each not in last), *last])


def _kept(seen: Sequence[Seen]) -> dict[str, Any]:
    return {
        "sources": sorted({source for each in seen for source in each.sources}),
        "seen": [{**asdict(each), "sources": list(each.sources)} for each in seen],
    }


def _seen(data: Dataset) -> Seen:
    """What is kept of a data set that a model is trained on."""
    return Seen(data.name, data.fingerprint(), sources_of(data), bool(data.made_splits), content(data))


def check_together(sets: Sequence[Dataset], allowed: Collection[str]) -> list[str]:
    """Refuse to train on several data sets at once if one may hold what another keeps for validation or test.

    Args:
        sets: The data sets; their names tell them apart from then on.
        allowed: Names of the faults that are allowed.

    Returns:
        What was allowed, in sentences.

    Raises:
        InputError: One is given twice, two have the same name, or two come from one collection and that is not allowed.
    """
    told = []
    for place, data in enumerate(sets):
        for other in sets[:place]:
            seen = _seen(other)
            if seen.is_same(data):
                raise InputError(
                    f"{data.name} has the image names and labels of {other.name}, so it is taken for the same; give "
                    "each data set once, or rename an image where they are two"
                )
            if data.name == other.name:
                raise InputError(f"two data sets are called {data.name}; rename one, since they are told apart by name")
            if shared := _shared(data, seen):
                sentence = (
                    f"{data.name} and {other.name} both hold images of {' and '.join(shared)}, so perhaps one is "
                    "trained on what the other keeps for validation or test; give one of the two"
                )
                told.append(settle_fault(FAULT, sentence, allowed))
    return told


def check_start(data: Dataset, before: Sequence[Seen], allowed: Collection[str]) -> list[str]:
    """Refuse to go on training a model that may have seen the test images of its new data.

    A data set of the same name whose splits were cut otherwise is refused too, whether the catalogue knows it or not.

    Args:
        data: The new data.
        before: What the model has seen.
        allowed: Names of the faults that are allowed.

    Returns:
        What was allowed, in sentences.

    Raises:
        InputError: It may have, and that is not allowed.
    """
    told = []
    for each in before:
        shared = _shared(data, each)
        cut_again = each.name == data.name and each.cut and bool(data.made_splits)
        if (shared or cut_again) and not each.is_same(data):
            advice = "start from a model of other images, or of this data with these splits"
            told.append(settle_fault(FAULT, _sentence(data, each, shared, "the start") + advice, allowed))
    return told


def check_unseen(data: Dataset, provenance: Mapping[str, Any], allowed: Collection[str]) -> list[str]:
    """Refuse to evaluate a model on images that it may have been trained on under another name or in other splits.

    Args:
        data: What is to be evaluated on, opened with the model's classes.
        provenance: Of the model.
        allowed: Names of the faults that are allowed.

    Returns:
        What was allowed, in sentences.

    Raises:
        InputError: It may have seen them, and that is not allowed.
    """
    told = []
    for each in seen_by(provenance):
        shared = _shared(data, each)
        if shared and not each.is_same(data):
            advice = "evaluate it on other data, or on that data with the same splits"
            told.append(settle_fault(FAULT, _sentence(data, each, shared, "the model") + advice, allowed))
    return told


def _shared(data: Dataset, seen: Seen) -> list[str]:
    return [source for source in sources_of(data) if source in seen.sources]


def _sentence(data: Dataset, seen: Seen, shared: Sequence[str], model: str) -> str:
    if seen.name == data.name:
        what = "with other splits, labels or images, so perhaps on images that are tested here"
        return f"{model} was trained on {seen.name} {what}; "
    return (
        f"{data.name} holds images of {' and '.join(shared)}, and {model} was trained on {seen.name}, which does too, "
        "so perhaps on the same images; "
    )
