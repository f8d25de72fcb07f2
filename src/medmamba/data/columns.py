"""The text of a table as columns, and which of them says file, label, split and patient."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from medmamba.data.listing import few
from medmamba.errors import InputError, suggest
from medmamba.text import counted

_SEPARATOR = re.compile(r'"?sep=([\t,;])"?\r?\n', re.IGNORECASE)

# What each column is called here, and what other people call it: letters and digits alone, in lower case.
OWN_NAMES = {"file": ("file",), "label": ("label",), "split": ("split",), "patient": ("patient", "group")}
ALIASES = {
    "file": (
        *("image", "imageid", "imagename", "imagepath", "imagefile", "imageindex", "img", "imgid", "imgname"),
        *("filename", "filepath", "path"),
    ),
    "label": ("class", "classname", "diagnosis", "diagnostic", "dx", "target", "category", "findinglabels"),
    "split": (),
    "patient": ("patientid", "patientnumber", "patientnum", "subject", "subjectid", "groupid"),
}


@dataclass(frozen=True)
class Columns:
    """A table.

    Attributes:
        path: Where it lies.
        cells: Of each column that has a title, by this as written; all text, without blanks around it.
        lines: Of each row, where it stands in the file, from 1; a row that spans several lines counts as one.
    """

    path: Path
    cells: dict[str, list[str]]
    lines: tuple[int, ...]

    def named(self, name: str) -> str | None:
        """The title that is that name in any case, or None."""
        return next((title for title in self.cells if title.lower() == name.strip().lower()), None)

    def asked(self, name: str) -> str:
        """The title of a column that was asked for.

        Raises:
            InputError: There is none.
        """
        title = self.named(name)
        if title is None:
            there = ", ".join(self.cells)
            raise InputError(f"{self.path} has no column {name!r}, only {there}{suggest(name, list(self.cells))}")
        return title

    def playing(self, part: str, *, remedy: str) -> str | None:
        """The title of the column that is the `file`, `label`, `split` or `patient`, or None.

        Its own name goes before the names that others give it, and of those there must not be two.

        Raises:
            InputError: Several may be meant; `remedy` says what to do.
        """
        own = [title for title in map(self.named, OWN_NAMES[part]) if title is not None]
        found = own or [title for title in self.cells if _plain(title) in ALIASES[part]]
        if len(found) > 1:
            raise InputError(f"{self.path} has several columns that may be the {part}: {', '.join(found)}; {remedy}")
        return found[0] if found else None

    def needed(self, part: str, *, more: str = "") -> str:
        """As `playing`, but there must be one.

        Raises:
            InputError: None or several may be meant.
        """
        title = self.playing(part, remedy=f"rename the right one to {part}")
        if title is None:
            there = ", ".join(self.cells) or "nothing"
            hint = suggest(part, list(self.cells))
            raise InputError(f"{self.path} has no column {part!r}, only {there}{hint}; rename one{more}")
        return title

    def without(self, title: str, cells: Collection[str]) -> Columns:
        """The same table without the rows that have one of these cells in a column."""
        left = [row for row, cell in enumerate(self.cells[title]) if cell not in set(cells)]
        kept = {name: [column[row] for row in left] for name, column in self.cells.items()}
        return Columns(self.path, kept, tuple(self.lines[row] for row in left))

    def refuse_rows(self, what: str, rows: list[int]) -> None:
        """Raise `InputError` if there are rows, numbered as lines, with that fault."""
        _refuse_rows(self.path, what, rows)


def read_columns(path: Path) -> Columns:
    """Read a table with a header, separated by commas, tabs or semicolons, in UTF-8, or UTF-16 with a byte order mark.

    A line `sep=;` before the header, which Excel takes as the separator and hides, is taken so here too.

    Raises:
        InputError: It cannot be read, is not well-formed, has two columns of one name, or has no rows.
    """
    text = _text(path)
    told = _SEPARATOR.match(text)
    first = 1 if told is None else 2  # line of the header
    text = text if told is None else text[told.end() :]
    delimiter = told[1] if told else max("\t,;", key=io.StringIO(text, newline="").readline().count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(f"{path} is not a well-formed table ({error}); save it again as CSV") from None
    header = [title.strip() for title in rows[0]] if rows else []
    if not any(header):
        raise InputError(f"{path} begins with no header; a table has one, and a row for each image below it")
    if twice := [name for name, count in Counter(map(str.lower, header)).items() if name and count > 1]:
        raise InputError(f"{path} has two columns named {twice[0]!r}; rename or remove one")
    body = [(number, row) for number, row in enumerate(rows[1:], first + 1) if any(cell.strip() for cell in row)]
    _refuse_rows(path, f"not {len(header)} cells", [number for number, row in body if len(row) != len(header)])
    if not body:
        raise InputError(f"{path} has a header but no rows; expected one an image")
    cells = {title: [row[at].strip() for _, row in body] for at, title in enumerate(header) if title}
    return Columns(path, cells, tuple(number for number, _ in body))


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as reason:
        raise InputError(f"{path} cannot be read ({reason.strerror}); check that you may read it") from None
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # of UTF-16 without its mark, UTF-32, or what is no text at all
        raise InputError(
            f"{path} is not UTF-8 text, nor UTF-16 with a byte order mark; save the table as CSV UTF-8"
        ) from None
    return text


def _plain(title: str) -> str:
    return "".join(mark for mark in title.casefold() if mark.isalnum())


def _refuse_rows(path: Path, what: str, rows: list[int]) -> None:
    if rows:
        raise InputError(
            f"{path} has {what} in {counted(len(rows), 'row')}: lines {few([str(row) for row in rows])}; mend them"
        )
