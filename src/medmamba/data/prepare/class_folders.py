"""CPN X-ray and Kvasir: a folder for each class, at some depth of the download."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from medmamba.data.catalogue import Row
from medmamba.data.finding import walk_images
from medmamba.data.listing import few
from medmamba.data.prepare.found import Entry, Found, note_skipped
from medmamba.errors import InputError


def find(root: Path, row: Row) -> Found:
    """The images of a download, told by the folder that they lie in, without patients or splits: none are given.

    Raises:
        InputError: A class has no folder with images, or two.
    """
    by_lower = {name.lower(): name for name in row.classes}
    files, skipped = walk_images(root)
    found, unused = Found(), []
    places: dict[str, set[Path]] = defaultdict(set)
    for file in files:
        label = by_lower.get(file.parent.name.lower())
        if label is None:
            unused.append(str(file.relative_to(root)))
        else:
            places[label].add(file.parent)
            found.entries.append(Entry(file, label))
    _check_folders(root, row, places, skipped)
    if unused:
        found.notes.append(f"images in no folder of a class ({len(unused)}): {few(unused)}")
    note_skipped(skipped, found)
    return found


def _check_folders(root: Path, row: Row, places: dict[str, set[Path]], skipped: Counter[str]) -> None:
    if missing := [name for name in row.classes if name not in places]:
        hint = "unpack the archives in it" if skipped[".zip"] else "give the folder of the unpacked download"
        raise InputError(f"{root} has no images in a folder called {few(missing)}; {hint}")
    if double := [name for name, folders in places.items() if len(folders) > 1]:
        folders = sorted(str(folder.relative_to(root)) for folder in places[double[0]])
        raise InputError(
            f"{root} has two folders called {double[0]}: {few(folders)}; give the folder above one of them"
        )
