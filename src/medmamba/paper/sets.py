"""The data sets of tables and figures: the paper's own by their catalogue names, and those in the place of absent ones.

MedMNIST's images are 28 x 28 and are enlarged by the product's own preprocessing, which is bilinear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medmamba.data.catalogue import CATALOGUE, MEDMNIST, Row
from medmamba.errors import InputError, suggest

ABSENT = "data absent"
RECIPES = ("medmnist", "clinical")  # the paper's settings, for MedMNIST and for other sets


@dataclass(frozen=True)
class Source:
    """A data set that may lie in a folder of data.

    Attributes:
        name: What bundles and results call it.
        title: What tables and figures call it.
        places: Where it may lie below the folder of data; the first that is there is taken.
        train: Images in its training split, by which the time of a run is foreseen; None where they are not known.
        about: What a reader must know of it, in one sentence; empty where it is the paper's own.
        stands_for: The paper's sets in whose place it may be shown, by their catalogue names.
    """

    name: str
    title: str
    places: tuple[str, ...]
    train: int | None = None
    about: str = ""
    stands_for: tuple[str, ...] = ()


_SUBSTITUTES = (
    Source(
        "busi",
        "BUSI",
        ("busi256", "busi"),
        544,
        "BUSI is no set of the paper: breast ultrasound of three classes, from which BreastMNIST was made.",
        ("fetal-planes-db", "cervical-us"),
    ),
    Source(
        "bccd",
        "BCCD cells",
        ("bccd_cells", "bccd"),
        637,
        "BCCD cells is no set of the paper: single cells cut out of the blood smears of BCCD, easier than BloodMNIST.",
        ("bloodmnist",),
    ),
    Source(
        "isic2017",
        "ISIC 2017",
        ("isic2017",),
        58,
        "ISIC 2017 is no set of the paper: a part of the challenge's validation images, dermoscopy of three classes.",
        ("dermamnist", "pad-ufes-20"),
    ),
    Source(
        "malaria",
        "malaria cells",
        ("malaria",),
        about="Malaria cells is no set of the paper: a few single red blood cells with and without parasites.",
    ),
)


def _own(row: Row) -> Source:
    """A set of the paper; a file of MedMNIST's also where it was put together again from parts of the official one."""
    places: tuple[str, ...] = _usual(row.name)
    if row.name in MEDMNIST:
        files = (f"{row.name}.npz", f"{row.name}_reassembled.npz")
        places = tuple(f"{folder}{file}" for file in files for folder in ("medmnist/", ""))
    return Source(row.name, row.title, places, row.counts[0] if row.counts else None)


def _usual(name: str) -> tuple[str, ...]:
    return (name, f"{name}.csv", f"{name}.npz")


OWN: Mapping[str, Source] = {row.name: _own(row) for row in CATALOGUE.values() if row.paper}
SOURCES: Mapping[str, Source] = {**OWN, **{source.name: source for source in _SUBSTITUTES}}


def source_of(name: str) -> Source:
    """The set of a name, which may be that of its file: `pneumoniamnist_reassembled`, `breastmnist@64`, `busi256`.

    Raises:
        InputError: There is none.
    """
    plain = name.strip().lower()
    for source in SOURCES.values():
        if plain in (source.name, *source.places) or plain.startswith((f"{source.name}_", f"{source.name}@")):
            return source
    raise InputError(
        f"there is no data set {name!r}{suggest(plain, list(SOURCES))}; choose one of {', '.join(SOURCES)}"
    )


def recipe_of(name: str) -> str:
    """The recipe that has the paper's settings for a data set."""
    return RECIPES[0] if name in MEDMNIST else RECIPES[1]


def find(folder: Path, name: str) -> Path | None:
    """Where a set, or a file or folder of another name, lies in a folder of data; None where it does not."""
    return next((folder / place for place in _places(name) if (folder / place).exists()), None)


def locate(folder: Path, name: str) -> Path:
    """Where a set lies in a folder of data.

    Raises:
        InputError: It is not there.
    """
    if found := find(folder, name):
        return found
    raise InputError(f"{ABSENT}: {folder} holds no {' or '.join(_places(name))}; put one there")


def _places(name: str) -> tuple[str, ...]:
    return SOURCES[name].places if name in SOURCES else _usual(name)


def check_folder(folder: Path) -> None:
    """Refuse a folder of data that is not there: InputError."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; name the folder that holds the data sets with --data")


def stand_in(source: Source, *paper_sets: str) -> str:
    """`in place of ...` for a substitute of some of the paper's sets; empty for a set of the paper."""
    replaced = [CATALOGUE[name].title for name in source.stands_for if name in paper_sets]
    return f"in place of {' and '.join(replaced)}" if replaced else ""
