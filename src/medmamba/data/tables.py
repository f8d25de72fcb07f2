"""A CSV or TSV table with a row an image: file, label, and where known split and patient."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections import Counter
from pathlib import Path

from medmamba.data.listing import Listing, few
from medmamba.data.splits import SPLIT_WORDS, split_word
from medmamba.errors import InputError, suggest

EXTENSIONS = (".csv", ".tsv")
FOLDER_TABLES = ("splits.csv", "labels.csv")
GROUP_COLUMNS = ("patient", "group")

Table = dict[str, list[str]]


def read_table(path: Path, *, group_column: str | None = None) -> Listing:
    """List the images of a table. Every cell is text (`007` stays `007`); column names are taken in any case.

    Args:
        path: Separated by commas, tabs or semicolons, UTF-8, with a header: `file` (relative to the table's folder),
            `label`, optionally `split`, and `patient` or `group`, which mean the same.
        group_column: Another name of the patient column.

    Raises:
        InputError: A column, cell or file is missing, a file stands in two rows, a split has an unknown name, or a
            patient is in more than one split.
    """
    table = _columns(path)
    group = _group_column(table, group_column, path)
    unused = [name for name in table if name not in ("file", "label", "split", group)]
    for name in filter(None, ("file", "split" if "split" in table else None, group)):
        _refuse_rows(path, f"no {name}", [row for row, cell in enumerate(table[name], 2) if not cell])
    files = [path.parent / cell for cell in table["file"]]
    _refuse_repeated(path, files)
    missing = [cell for cell, file in zip(table["file"], files, strict=True) if not file.is_file()]
    if missing:
        raise InputError(f"{path} names {len(missing)} files that do not exist: {few(missing)}; check the paths")
    splits = _splits(path, table.get("split"))
    groups = tuple(table[group]) if group else None
    if splits and groups:
        _refuse_crossing(path, groups, splits)
    return Listing(
        name=path.resolve().parent.name if path.name in FOLDER_TABLES else path.stem,
        names=tuple(table["file"]),
        files=tuple(files),
        labels=tuple(unicodedata.normalize("NFC", label) for label in table["label"]),
        splits=splits,
        groups=groups,
        notes=(f"columns of {path.name} that are not used: {', '.join(unused)}",) if unused else (),
    )


def _columns(path: Path) -> Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header_line = file.readline()
            file.seek(0)
            rows = list(csv.reader(file, delimiter=max("\t,;", key=header_line.count), strict=True))
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save the table as CSV UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path} is not a well-formed table ({error}); save it again as CSV") from None
    header = [name.strip().lower() for name in rows[0]] if rows else []
    for name in ("file", "label"):
        if name not in header:
            there = ", ".join(header) or "nothing"
            raise InputError(f"{path} has no column {name!r}, only {there}{suggest(name, header)}; rename one")
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise InputError(f"{path} has two columns named {twice[0]!r}; rename or remove one")
    body = [(number, row) for number, row in enumerate(rows[1:], 2) if any(cell.strip() for cell in row)]
    _refuse_rows(path, f"not {len(header)} cells", [number for number, row in body if len(row) != len(header)])
    if not body:
        raise InputError(f"{path} has a header but no rows; expected one an image")
    return {name: [row[column].strip() for _, row in body] for column, name in enumerate(header)}


def _group_column(table: Table, asked: str | None, path: Path) -> str | None:
    if asked is not None:
        if asked.strip().lower() not in table:
            raise InputError(f"{path} has no column {asked!r}, only {', '.join(table)}{suggest(asked, list(table))}")
        return asked.strip().lower()
    known = [name for name in GROUP_COLUMNS if name in table]
    if len(known) > 1:
        raise InputError(f"{path} has both a patient and a group column; say which with --group-column")
    return known[0] if known else None


def _splits(path: Path, cells: list[str] | None) -> tuple[str, ...] | None:
    if cells is None:
        return None
    splits = [split_word(cell) for cell in cells]
    if unknown := sorted({cell for cell, split in zip(cells, splits, strict=True) if split is None}):
        raise InputError(f"{path} has splits named {few(unknown)}; expected {', '.join(SPLIT_WORDS)}")
    return tuple(split for split in splits if split)


def _refuse_rows(path: Path, what: str, rows: list[int]) -> None:
    if rows:
        raise InputError(f"{path} has {what} in {len(rows)} rows: lines {few([str(row) for row in rows])}; mend them")


def _refuse_repeated(path: Path, files: list[Path]) -> None:
    counts = Counter(os.path.normpath(file) for file in files)
    if repeated := [os.path.relpath(file, path.parent) for file, count in counts.items() if count > 1]:
        raise InputError(f"{path} names {len(repeated)} files more than once: {few(repeated)}; keep one row each")


def _refuse_crossing(path: Path, groups: tuple[str, ...], splits: tuple[str, ...]) -> None:
    pairs = set(zip(groups, splits, strict=True))
    counts = Counter(group for group, _ in pairs)
    if crossing := sorted(group for group, count in counts.items() if count > 1):
        raise InputError(
            f"{path} has {len(crossing)} patients in more than one split: {few(crossing)}; "
            "put each patient in one split, or leave the split column out to have it made"
        )
