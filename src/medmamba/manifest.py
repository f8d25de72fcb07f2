"""Files that belong together: replaced as one, each known by the SHA-256 that their description names.

A description, a JSON file, has an entry `files`: names, and the digest of each file's bytes. They are written so that
whoever reads them, whenever the writer dies, finds all of before or all of after:

1. each new file is put beside the one that it replaces, as `NAME.new`;
2. the description is replaced: from here on the new files are the right ones;
3. each `NAME.new` is renamed to `NAME`.

A reader takes the file that has the digest, `NAME` or else `NAME.new`.

The description has a digest of its own entries as well, `sha256`: else a threshold or an order of classes that a bad
copy or an editor changed would be believed. It is no signature: whoever can write the file can write its digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from medmamba.errors import FailedError, InputError
from medmamba.json_file import read_json, write_json
from medmamba.writing import not_written, sync_folder, write_atomically

Found = TypeVar("Found")

NEW = ".new"
SEAL = "sha256"  # the entry that a description has of itself
_TRIES = 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


def find_file(folder: Path, name: str, expected: str | None) -> Path:
    """The file of a name that has a digest.

    Args:
        folder: Where it is.
        name: As the description names it.
        expected: SHA-256 of its bytes, 64 hexadecimal digits; None where the description is of before there were any.

    Raises:
        InputError: There is none, or it is damaged.
    """
    path = folder / name
    places = (path,) if expected is None else (path, _new(path))
    there = [place for place in places if place.is_file()]
    if not there:
        raise InputError(f"{folder} has no {name}, and is not whole without it; copy it again or make it again")
    for place in there:
        if expected is None or _has(place, expected):
            return place
    raise InputError(f"{path} is damaged: its bytes are not those that were written; copy the whole folder again")


def write_together(
    folder: Path,
    description: str,
    entries: Mapping[str, Any],
    new: Mapping[str, bytes],
    *,
    kept: Collection[str] = (),
    known: Collection[str] = (),
    based_on: Mapping[str, str] | None = None,
) -> None:
    """Replace the description of a folder, and some of its files with it, as one.

    What a writing that was killed left behind is removed before.

    Args:
        folder: That exists.
        description: Name of the JSON file.
        entries: What it holds, without `files`.
        new: Content of the files that are new, by name.
        kept: Names of the files that stay as they are, where they are there.
        known: All names of files that this description may have; those neither new nor kept are removed.
        based_on: Digests of the files that `entries` is about; it is refused if kept ones are others by now.

    Raises:
        FailedError: Nothing can be written, or the kept files are others; all is as it was.
    """
    before = named_files(folder / description)
    stay = [name for name in kept if name not in new]
    if changed := [name for name in stay if based_on and name in before and before[name] != based_on.get(name)]:
        raise FailedError(f"{folder} has been given another {changed[0]} meanwhile, and was left as it is; do it again")
    try:
        _finish(folder, before, [*known, description])
        digests = {name: before.get(name) or digest_of(folder / name) for name in stay if (folder / name).is_file()}
        digests |= {name: hashlib.sha256(content).hexdigest() for name, content in new.items()}
        try:
            for name, content in new.items():
                write_atomically(_new(folder / name), content)
            write_json(folder / description, sealed({**entries, "files": digests}))
        except BaseException:
            if named_files(folder / description) == before:  # else it is killed after that, and the new ones count
                for name in new:
                    _new(folder / name).unlink(missing_ok=True)
            raise
        for name in new:
            os.replace(_new(folder / name), folder / name)
        for name in known:
            if name not in digests:
                (folder / name).unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as reason:
        raise FailedError(not_written(folder / description, reason)) from reason


def sealed(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a description, as JSON has them, with the SHA-256 of all of them as `sha256`.

    It is of the values in the order of their names, not of the text: laying the file out anew changes nothing.
    """
    plain = {name: value for name, value in entries.items() if name != SEAL}
    plain = json.loads(json.dumps(plain, allow_nan=False, default=str))
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False)
    return {**plain, SEAL: hashlib.sha256(text.encode()).hexdigest()}


def read_description(path: Path, latest: int) -> dict[str, Any]:
    """The entries of a description, without its digest of itself.

    Args:
        path: The file.
        latest: The `format` that is written now; descriptions of before it may have no digest, those of after it are
            not looked at.

    Raises:
        InputError: It is no JSON object, or its entries are not those that were written.
    """
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise InputError(f"{path} cannot be used: it holds a {type(entries).__name__}, not an object")
    seal, version = entries.pop(SEAL, None), entries.get("format")
    if isinstance(version, int) and version > latest:
        return entries
    if seal is None and version == latest:
        raise InputError(f"{path} cannot be used: it does not name its own SHA-256; copy the folder again")
    if seal not in (None, sealed(entries)[SEAL]):
        raise InputError(
            f"{path} is damaged, or was edited by hand: its entries are not those that were written; copy the whole "
            "folder again, and change a model with medmamba's commands alone"
        )
    return entries


def named_files(description: Path) -> dict[str, str]:
    """The digests that a description names, by file; none where it is missing, damaged, or of before there were any."""
    try:
        entries = read_json(description)
        return check_files(entries.get("files", {})) if isinstance(entries, dict) else {}
    except InputError:
        return {}


def check_files(files: Any, known: Collection[str] | None = None) -> dict[str, str]:
    """The entry `files` of a description, after looking at it.

    Raises:
        InputError: It holds no digests, or names a file that is not known.
    """
    if not isinstance(files, dict) or not all(
        isinstance(each, str) and _DIGEST.fullmatch(each) for each in files.values()
    ):
        raise InputError("its files are not named with their SHA-256; copy the folder again")
    if unknown := [name for name in files if known is not None and name not in known]:
        raise InputError(f"it names the file {unknown[0]!r}; a folder of this kind has {', '.join(known or ())} alone")
    return files


def undisturbed(folder: Path, names: Collection[str], read: Callable[[], Found]) -> Found:
    """What `read` gives, read again where somebody replaced one of these files meanwhile."""
    for _ in range(_TRIES):
        before = _state(folder, names)
        try:
            found = read()
        except InputError:
            if _state(folder, names) == before:
                raise
        else:
            if _state(folder, names) == before:
                return found
        time.sleep(0.05)
    raise InputError(f"{folder} is written anew all the time; wait until that has ended")


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finish(folder: Path, files: Mapping[str, str], names: Collection[str]) -> None:
    """Give those of the new files their names that the description names already; all others in the way go."""
    for name in names:
        path, new = folder / name, _new(folder / name)
        if name in files and new.is_file() and not _has(path, files[name]) and _has(new, files[name]):
            os.replace(new, path)
            sync_folder(folder)
        for leftover in (new, *folder.glob(f".{name}.*")):
            leftover.unlink(missing_ok=True)


def _has(path: Path, expected: str) -> bool:
    """Whether a file has a digest; also a file that was renamed or removed this moment has not."""
    try:
        return digest_of(path) == expected
    except FileNotFoundError:
        return False


def _new(path: Path) -> Path:
    return path.with_name(path.name + NEW)


def _state(folder: Path, names: Collection[str]) -> list[tuple[int, int] | None]:
    """What changes when one of the files is replaced."""
    found: list[tuple[int, int] | None] = []
    for path in (place for name in names for place in (folder / name, _new(folder / name))):
        try:
            status = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns))
    return found
