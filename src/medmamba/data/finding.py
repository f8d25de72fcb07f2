"""Which files are images: in folders, lists and patterns. `reading.py` reads them."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from medmamba.data.dicom import is_dicom
from medmamba.errors import InputError
from medmamba.text import counted

logger = logging.getLogger(__name__)

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".dcm", ".dicom", ".npy")
# Found by prediction although they are not read, so that each gets a row that says so.
REFUSED_EXTENSIONS = (".nii", ".nii.gz")
LITTER = ("thumbs.db", "desktop.ini", "__macosx", "dicomdir")


def is_litter(name: str) -> bool:
    """Whether a file or folder name is hidden (`.x`, `._x`) or left behind by an operating system."""
    return name.startswith(".") or name.lower() in LITTER


def walk_images(folder: Path, extensions: tuple[str, ...] = EXTENSIONS) -> tuple[list[Path], Counter[str]]:
    """All images below a folder, told by extension in any case, sorted by path.

    A file without an extension, or with a number for one, as scanners write them, is an image if it is DICOM.

    Returns:
        The files, and how many others were passed over, by extension (`hidden or system` for litter).
    """
    found: list[Path] = []
    skipped: Counter[str] = Counter()
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        for name in files:
            if is_litter(name):
                skipped["hidden or system"] += 1
            elif name.lower().endswith(extensions) or _is_unnamed_dicom(Path(parent, name)):
                found.append(Path(parent, name))
            else:
                skipped[Path(name).suffix.lower() or "no extension"] += 1
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix()), skipped


def _is_unnamed_dicom(path: Path) -> bool:
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    if not path.is_file():  # a link to nothing; a pipe, which would wait for ever
        return False
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError:  # what may not be read is no image that we could use
        return False


def skipped_sentence(skipped: Counter[str]) -> str:
    """What was passed over, in words; an empty string if nothing was."""
    if not skipped:
        return ""
    kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(skipped.items()))
    return f"skipped {counted(skipped.total(), 'file')} of other kinds than images: {kinds}"


def find_images(paths: Sequence[str | os.PathLike[str]]) -> list[tuple[str, Path]]:
    """Expand what a user names into images to read, in the order given.

    Args:
        paths: Each a file, a folder (searched to any depth, sorted), a glob pattern, or a list file `.txt` with one
            path a line, relative to the list. A path that does not exist is kept: it becomes a row with an error.

    Returns:
        (name, path) of each image; the name is the path as text.

    Raises:
        InputError: A folder or list holds no image, or something else than a path was given.
    """
    for given in paths:
        if not isinstance(given, str | os.PathLike):
            raise InputError(
                f"images are named by paths, and an object of type {type(given).__name__} was given; "
                "save pixels as PNG, TIFF or .npy"
            )
    return [(str(path), path) for given in paths for path in _expand(Path(given))]


def names_images(path: str | os.PathLike[str]) -> bool:
    """Whether a path names images by itself, and no model: a file with an image's extension, there or not; a list file
    `.txt`; a DICOM file without an extension; or a glob pattern that something matches. A folder does not: it may be a
    model.
    """
    path = Path(path)
    if path.is_dir():
        return False
    known = path.name.lower().endswith((*EXTENSIONS, *REFUSED_EXTENSIONS, ".txt"))
    return known or _is_unnamed_dicom(path) or (not path.exists() and _matches(path))


def _matches(pattern: Path) -> bool:
    """Whether it is a glob pattern with a match: a bracket may stand in the name of a model that is not there."""
    return glob.has_magic(str(pattern)) and next(glob.iglob(str(pattern), recursive=True), None) is not None


def _expand(given: Path) -> Iterator[Path]:
    if given.is_dir():
        found, skipped = walk_images(given, EXTENSIONS + REFUSED_EXTENSIONS)
        if not found:
            raise InputError(f"the folder {given} holds no images; expected files ending in {', '.join(EXTENSIONS)}")
        if skipped:
            logger.warning("%s: %s", given, skipped_sentence(skipped))
        yield from found
    elif given.is_file() and given.suffix.lower() == ".txt":
        yield from _listed(given)
    elif not given.exists() and glob.has_magic(str(given)):
        matches = [Path(match) for match in sorted(glob.glob(str(given), recursive=True)) if Path(match).is_file()]
        yield from matches or [given]
    else:
        yield given


def _listed(listing: Path) -> list[Path]:
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"the list {listing} is not UTF-8 text with one path a line; save it as UTF-8") from None
    paths = [listing.parent / line.strip() for line in lines if line.strip()]
    if not paths:
        raise InputError(f"the list {listing} names no images; expected one path a line")
    return paths
