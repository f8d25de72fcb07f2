"""Where heat maps go: names for them, in a folder in which nobody else's file is replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from medmamba.errors import InputError
from medmamba.explain import pictures
from medmamba.json_file import read_json
from medmamba.writing import head

TABLE = "explain.json"
NOTE = "Research software, not a medical device. A map shows where a network found evidence, not where disease is."
SHEET, OVERLAY, MAP = ".png", "-overlay.png", ".npy"  # ends of the names of an image's three files
_NUMBER = re.compile(r"-[0-9]+$")  # at the end of a name that several images would have


def plain_name(path: Path, target: str) -> str:
    """How the files of an image and target begin, where no other image has the same name."""
    return "".join(mark if mark.isalnum() or mark in "-_." else "_" for mark in f"{path.stem[:80]}-{target[:60]}")


def check_apart(out: Path, given: Sequence[str | os.PathLike[str]], found: Sequence[Path]) -> None:
    """Refuse a folder from which the next call would take maps for images.

    Args:
        out: Where the maps are to go.
        given: What the user named.
        found: The images in it.

    Raises:
        InputError: One of the images lies there, or a folder that was given is searched down to it.
    """
    place = out.resolve()
    homes = {path.parent for path in found if path.is_file()}
    searched = [Path(each) for each in given if Path(each).is_dir()]
    where = "where the images lie" if place in {home.resolve() for home in homes} else ""
    for each in searched:
        if not where and place.is_relative_to(each.resolve()):
            where = f"which lies in {each}, where images are looked for"
    if where:
        raise InputError(
            f"the maps would go to {out}, {where}, and be taken for images the next time; name another folder with "
            "--out"
        )


def check_names(out: Path, images: Sequence[Path], targets: Sequence[str]) -> None:
    """Refuse a folder with files that the maps might take the place of and that `heat_maps` did not write.

    Args:
        out: Where the maps are to go, there or not.
        images: What is explained.
        targets: The classes that may be.

    Raises:
        InputError: There is such a file; the message names it.
    """
    if not (foreign := list(_foreign(out))):
        return
    stems = {plain_name(image, target).casefold() for image in images for target in targets}
    for name in foreign:
        if name == TABLE or not stems.isdisjoint(_stems(name.casefold())):
            raise InputError(
                f"{out / name} is there already and was not written by medmamba explain; name another folder with --out"
            )


def _foreign(out: Path) -> Iterator[str]:
    """Names in a folder, of those that maps may have, that do not belong to maps of ours."""
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    own = {name for name in names if name.endswith(SHEET) and pictures.is_own(out / name)}
    own |= {name for name in names if name.endswith(MAP) and f"{name.removesuffix(MAP)}{SHEET}" in own}
    if TABLE in names and _is_own_table(out / TABLE):
        own |= {TABLE, *_listed(out / TABLE)}
    return (name for name in names if name not in own and (name.casefold().endswith((SHEET, MAP)) or name == TABLE))


def _is_own_table(path: Path) -> bool:
    """Whether a file begins as our table does; an empty one is nobody's."""
    start = head(path, 2 * len(NOTE))
    return path.is_file() and (not start or NOTE.encode() in start)


def _listed(table: Path) -> set[str]:
    """The files that a table of ours names, whose pictures may be older than the mark in them."""
    try:
        rows = read_json(table)["images"]
        return {str(row[key]) for row in rows for key in ("picture", "overlay", "map")}
    except (InputError, KeyError, TypeError):  # cut short, or too large to be read: then the pictures tell
        return set()


def _stems(name: str) -> set[str]:
    """What the plain name may be of which a file's name was made."""
    stems = {name.removesuffix(end) for end in (OVERLAY, SHEET, MAP) if name.endswith(end)}
    return stems | {_NUMBER.sub("", stem) for stem in stems}
