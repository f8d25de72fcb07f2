"""What a preparer finds in a download."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medmamba.data.finding import is_litter, skipped_sentence, walk_images
from medmamba.data.listing import few
from medmamba.errors import InputError


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        file: Where it is.
        label: Its class.
        patient: Its patient, as the publisher writes it; None where patients are unknown.
        split: The publisher's; None where none is given.
    """

    file: Path
    label: str
    patient: str | None = None
    split: str | None = None


@dataclass
class Found:
    """The images of a download, and what does not fit.

    Attributes:
        entries: The images.
        left_out: Sentences about rows that are not among them although they should be.
        notes: Sentences about anything else that is worth telling.
    """

    entries: list[Entry] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, rows: Sequence[str], why: str) -> None:
        """Add a sentence about rows, if there are any."""
        if rows:
            self.left_out.append(f"left out because {why} ({len(rows)}): {few(rows)}")


def find_file(root: Path, names: Sequence[str], what: str) -> Path:
    """The one file of these names at any depth of a folder; upper and lower case are the same.

    Raises:
        InputError: There is none, or there are several.
    """
    lower = [name.lower() for name in names]
    found = sorted(path for path in root.rglob("*") if path.name.lower() in lower and path.is_file())
    found = [path for path in found if not any(is_litter(part) for part in path.relative_to(root).parts)]
    if not found:
        raise InputError(f"{root} has no {' or '.join(names)}, {what}; give the folder of the unpacked download")
    if len(found) > 1:
        places = few([str(path.relative_to(root)) for path in found])
        raise InputError(f"{root} has {len(found)} files called so: {places}; give the folder of one download")
    return found[0]


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file, all cells as text without blanks around them, by column.

    Raises:
        InputError: It lacks a column, has no rows or is no CSV file.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = max(",;\t", key=file.readline().count)
            file.seek(0)
            header, *body = list(csv.reader(file, delimiter=separator, strict=True)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table ({error}); download it again") from None
    header = [name.strip() for name in header]
    if missing := [name for name in columns if name not in header]:
        there = ", ".join(header) or "nothing"
        raise InputError(f"{path} has no column {missing[0]!r}, only {there}; expected the publisher's file")
    if not body:
        raise InputError(f"{path} has a header but no rows; download it again")
    short = [str(number) for number, row in enumerate(body, 2) if row and len(row) != len(header)]
    if short:
        raise InputError(f"{path} has not {len(header)} cells in lines {few(short)}; download it again")
    return [dict(zip(header, (cell.strip() for cell in row), strict=True)) for row in body if row]


def images_by_name(root: Path, found: Found, *, stem: bool = False) -> dict[str, Path]:
    """All images below a folder by file name, or by the name without its extension.

    Raises:
        InputError: There is no image, or two have one name.
    """
    files, skipped = walk_images(root)
    if not files:
        hint = "; unpack the archives in it too" if skipped[".zip"] else ""
        raise InputError(f"{root} holds no images{hint}")
    counts = Counter(path.stem if stem else path.name for path in files)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise InputError(f"{root} has images at two places ({len(twice)}): {few(twice)}; give the folder of one copy")
    if skipped[".zip"]:
        found.notes.append(
            f"archives in {root} that are not unpacked, so that their images are not seen: {skipped['.zip']}"
        )
    return {path.stem if stem else path.name: path for path in files}


def note_unnamed(root: Path, images: dict[str, Path], named: Collection[str], found: Found) -> None:
    """Say which images of a folder no row names."""
    if unnamed := [str(path.relative_to(root)) for name, path in images.items() if name not in named]:
        found.notes.append(f"images that no row names ({len(unnamed)}): {few(unnamed)}")


def note_skipped(skipped: Counter[str], found: Found) -> None:
    """Say which files were passed over."""
    if skipped:
        found.notes.append(skipped_sentence(skipped))
