"""Collections of images that data sets are made from, and how they are recognised by names of folders and files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from medmamba.data.catalogue.medmnist_sets import MEDMNIST_ROWS
from medmamba.data.catalogue.other_sets import OTHER_ROWS


@dataclass(frozen=True)
class Collection:
    """Images that were taken together, under whatever names parts of them are passed on.

    Attributes:
        name: As rows of the catalogue call it.
        aliases: Names by which copies of it go. They are found among the words of a name: `busi` in `BUSI_256`.
        everyday: Names that mean it only if nothing else stands beside them.
    """

    name: str
    aliases: tuple[str, ...]
    everyday: tuple[str, ...] = ()


# The names of the rows themselves need not stand here.
_COLLECTIONS = (
    Collection("NCT-CRC-HE-100K", ("nct-crc", "crc-he")),
    Collection("CRC-VAL-HE-7K", ("crc-val-he",)),
    Collection("NIH ChestX-ray14", ("chestx-ray14", "chestxray14", "chest-xray14", "nih-chest", "cxr8")),
    Collection("HAM10000", ("ham10000", "isic-2018", "isic-2019")),
    Collection("Kermany 2018, retinal OCT", ("kermany", "oct2017")),
    Collection(
        "Kermany 2018, chest x-rays of children",
        ("kermany", "chest-xray-pneumonia", "chestxray2017", "chest-xray-2017"),
        everyday=("chest-xray",),
    ),
    Collection("DeepDRiD", ("deepdrid", "deep-drid")),
    Collection("BUSI", ("busi",)),
    Collection("Acevedo 2020, blood cells", ("acevedo", "pbc-dataset")),
    Collection("BBBC051", ("bbbc051",)),
    Collection("LiTS", ("lits", "organmnist", "organmnist3d")),
    Collection("PAD-UFES-20", ("pad-ufes", "padufes")),
    Collection("Cervical-US", ("clnlus",)),
    Collection("CPN X-ray", ("cpn", "covid19-pneumonia-normal", "covid-pneumonia-normal", "dvntn9yhd2")),
    Collection("Fetal-Planes-DB", ("fetal-planes", "fetalplanes")),
    Collection("Kvasir", ("kvasir", "kvasirv", "hyperkvasir", "hyper-kvasir")),
    Collection("Otoscopy2024", ("otoscopy2024",)),
)
COLLECTIONS = {collection.name: collection for collection in _COLLECTIONS}


def words(name: str) -> tuple[str, ...]:
    """The words and numbers of a name, in lower case: `busi`, `256` for `BUSI_256` and for `busi256`."""
    return tuple(re.findall(r"[^\W\d_]+|\d+", name.lower()))


_BY_ALIAS: dict[tuple[str, ...], set[str]] = {}
for _alias, _sources in (
    *((alias, (each.name,)) for each in _COLLECTIONS for alias in each.aliases),
    *((row.name, row.sources) for row in (*MEDMNIST_ROWS, *OTHER_ROWS)),
):
    _BY_ALIAS.setdefault(words(_alias), set()).update(_sources)
_LENGTHS = sorted({len(_alias) for _alias in _BY_ALIAS})
_EVERYDAY = {words(name): (each.name,) for each in _COLLECTIONS for name in each.everyday}


def recognise(name: str) -> tuple[str, ...]:
    """The collections that the images of a data set of that name come from, as far as the name tells."""
    return recognise_all([name])


def recognise_all(names: Iterable[str]) -> tuple[str, ...]:
    """What any of several names tells, in the order of the collections."""
    found: set[str] = set()
    for told in map(words, names):
        found.update(_EVERYDAY.get(told, ()))
        parts = (told[start : start + length] for length in _LENGTHS for start in range(len(told) - length + 1))
        found.update(source for part in parts for source in _BY_ALIAS.get(part, ()))
    return tuple(each for each in COLLECTIONS if each in found)
