"""`medmamba prepare`: find, compare with the publisher's counts, write the table."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medmamba.data.catalogue import CATALOGUE, SIZES, Row
from medmamba.data.locating import outside
from medmamba.data.medmnist import md5, parse_name
from medmamba.data.prepare import class_folders, fetal_planes, pad_ufes
from medmamba.data.prepare.found import Entry, Found
from medmamba.errors import InputError, suggest
from medmamba.writing import write_atomically

PREPARERS: Mapping[str, Callable[[Path, Row], Found]] = {
    "pad-ufes-20": pad_ufes.find,
    "cpn-x-ray": class_folders.find,
    "fetal-planes-db": fetal_planes.find,
    "kvasir": class_folders.find,
}


@dataclass(frozen=True)
class Prepared:
    """What came of it.

    Attributes:
        table: The table that was written; None for a MedMNIST file, which needs none.
        images: Number of its rows.
        notes: Sentences worth telling.
        complete: Whether nothing of what the publisher names was left out, and a MedMNIST file is the official one.
    """

    table: Path | None
    images: int
    notes: tuple[str, ...]
    complete: bool


def prepare(name: str, download: str | os.PathLike[str], *, out: str | os.PathLike[str]) -> Prepared:
    """Turn a publisher's download into a table file,label[,split][,patient].

    Splits are those of the publisher, where it gives some; elsewhere the column is left out, and `open_data` cuts the
    data, by patient where there are patients.

    Args:
        name: Of the data set in the catalogue.
        download: The folder of the unpacked download; for a MedMNIST set its `.npz`, or the folder that holds it.
        out: The table, a `.csv` that is not there yet. Paths in it are relative to it where that is possible.

    Raises:
        InputError: The set is unknown or cannot be prepared, the download is not that of the set, or the table cannot
            be written. Nothing is written then.
    """
    download, out = Path(download), Path(out)
    if (named := parse_name(name)) is not None:
        return _look_at_npz(named[0], download)
    row = _row(name)
    if not download.is_dir():
        raise InputError(f"{download} is no folder; give the folder of the unpacked download of {row.title}")
    if row.name not in PREPARERS:
        raise InputError(f"{row.title} needs no table: medmamba train {download} takes a folder of class folders")
    _check_out(out)
    found = PREPARERS[row.name](download, row)
    if not found.entries:
        reasons = "; ".join(found.left_out)
        raise InputError(f"{download} has no image that can be used: {reasons}; give the download of {row.title}")
    notes = [*found.left_out, *found.notes, *_differences(found.entries, row)]
    write_atomically(out, _table(found.entries, out.parent))
    if beyond := outside(out, [entry.file for entry in found.entries]):
        notes.append(
            f"{len(beyond)} images lie outside the folder of {out.name}: each use of it needs --allow outside-folder"
        )
    return Prepared(out, len(found.entries), tuple(notes), not found.left_out)


def _row(name: str) -> Row:
    row = CATALOGUE.get(name.strip().lower())
    if row is None:
        known = ", ".join(PREPARERS)
        hint = suggest(name.lower(), tuple(CATALOGUE))
        raise InputError(f"the catalogue has no {name!r}{hint}; there are {known} and the MedMNIST sets")
    return row


def _look_at_npz(row: Row, download: Path) -> Prepared:
    sizes = {row.file_name(size): size for size in SIZES}
    files = [download] if download.is_file() else [download / file for file in sizes if (download / file).is_file()]
    if not files:
        raise InputError(f"{download} is no .npz of {row.title} and holds none of {', '.join(sizes)}; {row.get}")
    known = {row.md5[size]: size for size in SIZES}
    notes, official = [], True
    for file in files:
        size = known.get(md5(file))
        official = official and size is not None
        what = f"the official file at {size} pixels" if size else "not the official file: its checksum differs"
        notes.append(f"{file} is {what}; it needs no table: medmamba train {file} takes it as it is")
    return Prepared(None, 0, tuple(notes), official)


def _check_out(out: Path) -> None:
    if out.suffix.lower() != ".csv":
        raise InputError(f"{out} does not end in .csv; name the table that is to be written")
    if out.exists():
        raise InputError(f"{out} is there already; name another table, or remove it")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent} to write {out.name} in; make it first")


def _differences(entries: Sequence[Entry], row: Row) -> Iterator[str]:
    """Where the counts of a download are not those that its publisher gives."""
    counts = Counter(entry.label for entry in entries)
    wrong = [f"{name} {counts[name]} (not {n})" for name, n in row.class_counts.items() if counts[name] != n]
    if wrong:
        yield f"{len(entries)} images, and by its publisher {row.total:,}: {', '.join(wrong)}"
    patients = len({entry.patient for entry in entries if entry.patient is not None})
    if patients and row.patients is not None and patients != row.patients:
        yield f"{patients} patients, and by its publisher {row.patients:,}"


def _table(entries: Sequence[Entry], folder: Path) -> bytes:
    splits, patients = (any(getattr(entry, name) is not None for entry in entries) for name in ("split", "patient"))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", *["split"] * splits, *["patient"] * patients])
    for entry in entries:
        more = [entry.split] * splits + [entry.patient] * patients
        writer.writerow([_relative(entry.file, folder), entry.label, *more])
    return text.getvalue().encode()


def _relative(file: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(file, folder)).as_posix()
    except ValueError:  # on another drive
        return os.path.abspath(file)
