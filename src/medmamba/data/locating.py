"""From what a table calls its images to their files."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from medmamba.data.finding import EXTENSIONS, is_litter, walk_images
from medmamba.data.listing import RowsError, few
from medmamba.text import counted

Names = dict[str, list[Path]]


def locate(table: Path, cells: Sequence[str]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Find the file of each cell.

    A path is relative to the table's folder, with `/` or `\\`. Where there is no such file, the extension may be
    missing, or capitals and accents may be written in another way, as long as one file fits.

    Returns:
        The files, and sentences worth telling the user.

    Raises:
        InputError: Files are missing, several fit a name, or two rows name one file; the message says how many and
            names the first few.
    """
    names_in = cache(_names_in)
    found = [_fitting(table.parent, cell, names_in) for cell in cells]
    if missing := [cell for cell, files in zip(cells, found, strict=True) if not files]:
        sentence = (
            f"{table} names {counted(len(missing), 'file')} that cannot be found: {few(missing)}; check the paths"
        )
        raise RowsError(sentence, missing)
    several = {cell: files for cell, files in zip(cells, found, strict=True) if len(files) > 1}
    if several:
        shown = [f"{cell} ({', '.join(path.name for path in files)})" for cell, files in several.items()]
        sentence = f"{table} has {len(several)} names that several images fit: {few(shown)}; write them whole"
        raise RowsError(sentence, list(several))
    files = tuple(candidates[0] for candidates in found)
    _refuse_repeated(table, files, cells)
    notes = []
    if completed := sum(not _same(cell, path) for cell, path in zip(cells, files, strict=True)):
        notes.append(f"{completed} names of {table.name} are completed by an extension, or in capitals or accents")
    if count := _count_unmatched(table.parent, files):
        notes.append(f"unmatched: {counted(count, 'image')} beside those of {table.name} in none of its rows")
    return files, tuple(notes)


def outside(table: Path, files: Sequence[Path]) -> list[Path]:
    """Those of the files that lie outside the table's folder, behind `..`, links and absolute paths too."""
    resolved = cache(os.path.realpath)
    home = os.path.join(os.path.normcase(resolved(table.parent)), "")

    def is_inside(file: Path) -> bool:
        place = os.path.join(resolved(file.parent), file.name)  # a folder is asked once, since each answer takes time
        return os.path.normcase(os.path.realpath(place) if os.path.islink(place) else place).startswith(home)

    return [file for file in files if not is_inside(file)]


def _fitting(folder: Path, cell: str, names_in: Callable[[Path], Names]) -> list[Path]:
    """The files that a cell may mean, one if all is well."""
    slashed = cell.replace("\\", "/")
    for text in (cell, slashed):
        if os.path.isfile(folder / text):
            return [folder / text]
    place = folder / slashed
    return names_in(place.parent).get(_plain(place.name), [])


def _names_in(folder: Path) -> Names:
    """The files of a folder by what a table may call them: their names, those of images without extension too."""
    names: Names = defaultdict(list)
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_file() and not is_litter(entry.name))
    except (OSError, ValueError):
        return {}
    for name in entries:
        names[_plain(name)].append(folder / name)
        stem, extension = os.path.splitext(name)
        if extension.lower() in EXTENSIONS:
            names[_plain(stem)].append(folder / name)
    return dict(names)


def _plain(name: str) -> str:
    """The same for names that differ only in capitals or in how accents are stored."""
    return unicodedata.normalize("NFC", name).casefold()


def _same(cell: str, path: Path) -> bool:
    return cell.replace("\\", "/").rpartition("/")[2] == path.name


def _refuse_repeated(table: Path, files: Sequence[Path], cells: Sequence[str]) -> None:
    keys = [_key(file) for file in files]
    counts = Counter(keys)
    if repeated := [os.path.relpath(file, table.parent) for file, count in counts.items() if count > 1]:
        sentence = f"{table} names {counted(len(repeated), 'file')} more than once: {few(repeated)}; keep one row each"
        raise RowsError(sentence, [cell for cell, key in zip(cells, keys, strict=True) if counts[key] > 1])


def _count_unmatched(folder: Path, files: Sequence[Path]) -> int:
    """Images in the folders that the rows name, at any depth below the table's, that no row names."""
    home, named = _key(folder), {_key(file) for file in files}
    tops = {_top(Path(home), Path(file).parent) for file in named}
    if Path(home) in tops:  # and with it all that is below
        tops = {top for top in tops if Path(home) not in top.parents}
    beside = {_key(path) for top in tops for path in walk_images(top)[0]}
    return len(beside - named)


def _top(home: Path, place: Path) -> Path:
    """The first folder below the table's on the way to a place; the place itself if it is elsewhere."""
    return home / place.relative_to(home).parts[0] if home in place.parents else place


def _key(path: Path) -> str:
    """The same for paths that are written in other ways; on Windows, where capitals do not matter, in small letters."""
    return os.path.normcase(os.path.abspath(path))
