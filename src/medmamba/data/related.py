"""Whether a model may have seen images already, under another data set's name or in other splits.

A data set comes from collections (`catalogue.collections`), which are recognised by names. Two data sets that share one
may share images, unless they are one and the same with the same splits, which `content` tells. So may two that nothing
is known of, where both have the same images by name and label (`whole`), or where a run cut its data by itself and data
of that name come with other splits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from medmamba.data.catalogue import recognise
from medmamba.data.dataset import ALL, Dataset
from medmamba.data.faults import settle_fault
from medmamba.data.identity import content, pixels, whole
from medmamba.errors import InputError

FAULT = "related-data"


@dataclass(frozen=True)
class Seen:
    """A data set that a model, or one that it started from, was trained on.

    Attributes:
        name: Of the data set.
        fingerprint: As `Dataset.fingerprint` gives it; None where it was not recorded.
        sources: Collections that its images come from.
        cut: Whether its test split was made by us.
        content: As `content` gives it; None where it was not recorded.
        whole: As `whole` gives it; None for arrays, or where it was not recorded.
        pixels: As `pixels` gives it; None where names or labels tell enough, or where it was not recorded.
    """

    name: str
    fingerprint: str | None
    sources: tuple[str, ...]
    cut: bool = False
    content: str | None = None
    whole: str | None = None
    pixels: str | None = None

    def is_same(self, data: Dataset) -> bool:
        """Whether it has the training and validation images of a data set, and so none of its test images."""
        named = self.fingerprint == data.fingerprint() or self.content == content(data)
        return named and (self.pixels is None or self.pixels == pixels(data))

    def is_like(self, other: Seen) -> bool:
        """Whether both have the same training and validation images, as far as was recorded."""
        pairs = ((self.fingerprint, other.fingerprint), (self.content, other.content))
        named = any(mine is not None and mine == theirs for mine, theirs in pairs)
        return named and (self.pixels == other.pixels or None in (self.pixels, other.pixels))


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
    return Seen(
        name=data.name,
        fingerprint=data.fingerprint(),
        sources=sources_of(data),
        cut="test" in data.made_splits,
        content=content(data),
        whole=whole(data),
        pixels=pixels(data),
    )


def check_together(sets: Sequence[Dataset], allowed: Collection[str]) -> list[str]:
    """Refuse to train on several data sets at once if one may hold what another keeps for validation or test.

    Args:
        sets: The data sets; their names tell them apart from then on.
        allowed: Names of the faults that are allowed.

    Returns:
        What was allowed, in sentences.

    Raises:
        InputError: One is given twice, two have the same name, or two come from one collection or have the same images,
            and that is not allowed.
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
            elif _has_all_of(data, seen):
                sentence = (
                    f"{data.name} has the image names and labels of {other.name} in other splits, so one is trained on "
                    "what the other keeps for validation or test; give one of the two"
                )
                told.append(settle_fault(FAULT, sentence, allowed))
    return told


def check_start(data: Dataset, before: Sequence[Seen], allowed: Collection[str]) -> list[str]:
    """Refuse to go on training a model that may have seen the test images of its new data.

    The same images in other splits are refused too, and data of the same name that both runs cut by themselves, whether
    the catalogue knows them or not.

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
        named = each.name == data.name and each.cut and bool(data.made_splits)
        if (shared or named or _has_all_of(data, each)) and not each.is_same(data):
            advice = "start from a model of other images, or of this data with these splits"
            told.append(settle_fault(FAULT, _sentence(data, each, shared, "the start") + advice, allowed))
    return told


def check_unseen(data: Dataset, provenance: Mapping[str, Any], allowed: Collection[str]) -> list[str]:
    """Refuse to evaluate a model on images that it may have been trained on under another name or in other splits.

    Data of the name of some that the run cut by itself must have those splits, if they hold training or validation
    images at all. Where data come without splits, their name alone refuses nothing: `medmamba.predictor.opening` asks
    for the same images before it tests on a cut of ours.

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
        whole_set = not data.made_splits and not data.splits.keys().isdisjoint(("train", "val"))
        named = each.name == data.name and each.cut and whole_set
        if (shared or named or _has_all_of(data, each)) and not each.is_same(data):
            advice = "evaluate it on other data, or on that data with the same splits"
            if each.cut:
                advice += ", which stand in splits.csv in the run's folder"
            told.append(settle_fault(FAULT, _sentence(data, each, shared, "the model") + advice, allowed))
    return told


def _shared(data: Dataset, seen: Seen) -> list[str]:
    return [source for source in sources_of(data) if source in seen.sources]


def _has_all_of(data: Dataset, seen: Seen) -> bool:
    """Whether a data set has exactly the images and labels of one that was seen, in whatever splits."""
    return seen.whole is not None and seen.whole == whole(data)


def seen_sentences(data: Dataset, split: str, provenance: Mapping[str, Any]) -> list[str]:
    """What must be said of figures on a split that the model was trained on, or chosen by; nothing of a test split.

    Args:
        data: What the model is evaluated on.
        split: That is evaluated.
        provenance: Of the model.
    """
    if not is_of_training(split):
        return []
    seen = seen_by(provenance)
    if any(each.is_same(data) for each in seen):
        return [took_part(split)]
    if any(each.name == data.name for each in seen):
        return [
            f"the model was trained on data called {data.name} too: if these are the same images, the evaluated split "
            f"{split} took part in training, and figures are optimistic"
        ]
    return []


def is_of_training(split: str) -> bool:
    """Whether a split holds training or validation images, if it is one of the data that the model was trained on."""
    return split in ("train", "val", ALL)


def took_part(split: str) -> str:
    """The sentence for figures on a split of the training data."""
    return f"the evaluated split {split} took part in training or in the choice of the epoch: figures are optimistic"


def _sentence(data: Dataset, seen: Seen, shared: Sequence[str], model: str) -> str:
    if seen.name == data.name:
        what = "with other splits, labels or images, so perhaps on images that are tested here"
        return f"{model} was trained on {seen.name} {what}; "
    if not shared:
        return (
            f"{data.name} has the image names and labels of {seen.name} in other splits, and {model} was trained on "
            f"{seen.name}, so perhaps on images that are tested here; "
        )
    return (
        f"{data.name} holds images of {' and '.join(shared)}, and {model} was trained on {seen.name}, which does too, "
        "so perhaps on the same images; "
    )
