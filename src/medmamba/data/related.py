"""Whether a model may have seen images already, under another data set's name.

A data set comes from collections (`catalogue.collections`), which are recognised by names. Two data sets that share one
may share images, unless they are one and the same with the same splits, which their fingerprints tell.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medmamba.data.catalogue import recognise
from medmamba.data.dataset import Dataset
from medmamba.data.faults import settle_fault

FAULT = "related-data"


@dataclass(frozen=True)
class Seen:
    """A data set that a model, or one that it started from, was trained on.

    Attributes:
        name: Of the data set.
        fingerprint: As `Dataset.fingerprint` gives it; None where it was not recorded.
        sources: Collections that its images come from.
        cut: Whether its splits were made by us.
    """

    name: str
    fingerprint: str | None
    sources: tuple[str, ...]
    cut: bool = False


def sources_of(data: Dataset) -> tuple[str, ...]:
    """The collections that a data set comes from, as far as names tell."""
    return data.sources or recognise(data.name)


def seen_by(provenance: Mapping[str, Any]) -> tuple[Seen, ...]:
    """What a bundle's provenance says that its model has seen, earliest first."""
    data = provenance.get("data") or {}
    if "seen" in data:
        return tuple(Seen(**{**entry, "sources": tuple(entry["sources"])}) for entry in data["seen"])
    if "name" not in data:
        return ()
    cut = "made here" in str(data.get("splits", ""))
    return (Seen(str(data["name"]), data.get("fingerprint"), recognise(str(data["name"])), cut),)


def lineage(data: Dataset, fingerprint: str, before: Sequence[Seen]) -> dict[str, Any]:
    """What a bundle's provenance keeps of all data that its model has seen.

    Args:
        data: What it is trained on.
        fingerprint: Of the data.
        before: What the model that it starts from has seen.

    Returns:
        `seen`, a list with an object a data set; and `sources`, the collections of all of them.
    """
    own = Seen(data.name, fingerprint, sources_of(data), bool(data.made_splits))
    seen = [*(each for each in before if each != own), own]
    return {
        "sources": sorted({source for each in seen for source in each.sources}),
        "seen": [{**asdict(each), "sources": list(each.sources)} for each in seen],
    }


def check_start(data: Dataset, fingerprint: str, before: Sequence[Seen], allowed: Collection[str]) -> list[str]:
    """Refuse to go on training a model that may have seen the test images of its new data.

    A data set of the same name whose splits were cut otherwise is refused too, whether the catalogue knows it or not.

    Args:
        data: The new data.
        fingerprint: Of the new data.
        before: What the model has seen.
        allowed: Names of the faults that are allowed.

    Returns:
        What was allowed, in sentences.

    Raises:
        InputError: It may have, and that is not allowed.
    """
    told = []
    for each in before:
        if each.fingerprint == fingerprint:
            continue
        shared = _shared(data, each)
        if shared or (each.name == data.name and each.cut and data.made_splits):
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
        if shared and each.fingerprint != data.fingerprint():
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
