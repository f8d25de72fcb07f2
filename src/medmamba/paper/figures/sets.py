"""Data sets that figures show: the paper's own by their catalogue names, and those that stand in for absent ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medmamba.data.catalogue import CATALOGUE, MEDMNIST
from medmamba.errors import InputError, suggest


@dataclass(frozen=True)
class Source:
    """A data set that may lie in a data folder.

    Attributes:
        name: What bundles and results call it.
        title: What figures call it.
        places: Where it lies in a data folder, as patterns; the first that is there is taken.
        about: What a reader must know of it, in one sentence; empty where it is the paper's own.
        other_names: What its files or results may be called too.
        stands_for: The paper's sets in whose place it may be shown, by their catalogue names.
    """

    name: str
    title: str
    places: tuple[str, ...]
    about: str = ""
    other_names: tuple[str, ...] = ()
    stands_for: tuple[str, ...] = ()


_SUBSTITUTES = (
    Source(
        "busi",
        "BUSI",
        ("busi256", "busi", "BUSI"),
        "BUSI is no set of the paper: breast ultrasound of three classes, from which BreastMNIST was made.",
        ("busi256",),
        ("fetal-planes-db", "cervical-us"),
    ),
    Source(
        "bccd",
        "BCCD cells",
        ("bccd_cells", "bccd"),
        "BCCD cells is no set of the paper: single cells cut out of the blood smears of BCCD, easier than BloodMNIST.",
        ("bccd_cells",),
        ("bloodmnist",),
    ),
    Source(
        "isic2017",
        "ISIC 2017",
        ("isic2017",),
        "ISIC 2017 is no set of the paper: a part of the challenge's validation images, dermoscopy of three classes.",
        (),
        ("dermamnist", "pad-ufes-20"),
    ),
    Source(
        "malaria",
        "malaria cells",
        ("malaria",),
        "Malaria cells is no set of the paper: a few single red blood cells with and without parasites.",
    ),
)


def _own(name: str) -> Source:
    """A set of the paper; MedMNIST's also in a file whose name goes on after the set's."""
    places: tuple[str, ...] = (name, f"{name}.csv")
    if name in MEDMNIST:
        places = tuple(f"{folder}{name}{rest}.npz" for rest in ("", "_*") for folder in ("medmnist/", ""))
    return Source(name, CATALOGUE[name].title, places)


OWN: Mapping[str, Source] = {row.name: _own(row.name) for row in CATALOGUE.values() if row.paper}
SUBSTITUTES: Mapping[str, Source] = {source.name: source for source in _SUBSTITUTES}
SOURCES: Mapping[str, Source] = {**OWN, **SUBSTITUTES}


def source_of(name: str) -> Source:
    """The set of a name, which may go on after it as file names do: `pneumoniamnist_reassembled`, `breastmnist@64`.

    Raises:
        InputError: There is none.
    """
    plain = name.strip().lower()
    for source in SOURCES.values():
        if plain in (source.name, *source.other_names) or plain.startswith((f"{source.name}_", f"{source.name}@")):
            return source
    raise InputError(
        f"there is no data set {name!r}{suggest(plain, list(SOURCES))}; choose one of {', '.join(SOURCES)}"
    )


def find(folder: Path, source: Source) -> Path | None:
    """Where a set lies in a data folder; None where it does not."""
    for place in source.places:
        if found := sorted(folder.glob(place)):
            return found[0]
    return None


def check_folder(folder: Path) -> None:
    """Refuse a data folder that is not there: InputError."""
    if not folder.is_dir():
        raise InputError(f"there is no data folder {folder}; name the folder that holds the data sets with --data")


def stand_in(source: Source, *paper_sets: str) -> str:
    """`in place of ...` for a substitute of some of the paper's sets; empty for a set of the paper."""
    replaced = [CATALOGUE[name].title for name in source.stands_for if name in paper_sets]
    return f"in place of {' and '.join(replaced)}" if replaced else ""
