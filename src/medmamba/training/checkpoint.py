"""`resume.ckpt`: all that a run needs to go on from its last finished epoch as if nothing had happened.

No state of a random generator is in it, because no draw depends on one; see `medmamba.training.seeds`. The file is for
the machine that wrote it and is read with `weights_only=True`; a model is given away as a bundle, without it.

A new state is written beside the one before, made durable, read back and compared, and only then takes its place; the
one before stays as `resume.previous.ckpt`. So one that can be read is there at every moment, and a damaged one costs an
epoch. What stands at the end of the file says whose it is and its SHA-256: torch reads a file with a wrong bit.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from medmamba.errors import FailedError, InputError
from medmamba.writing import sync_folder, write_atomically

RESUME = "resume.ckpt"
PREVIOUS = "resume.previous.ckpt"
NEW = "resume.ckpt.new"  # there for a moment, or because the process was killed in it
CHECKPOINTS = (NEW, RESUME, PREVIOUS)  # the latest first

_FORMAT = 2
_READABLE = (1, 2)  # 1 knew no digest and no weights of the best epoch
_MARK = b"\nmedmamba resume file, for this machine alone; sha256 "
_END = len(_MARK) + 64
_CHUNK = 1 << 20


class Found(NamedTuple):
    """A checkpoint that can be read.

    Attributes:
        state: What was saved.
        file: Its name.
        passed_over: What is wrong with the later ones, a sentence each; empty if it is the last one written.
    """

    state: dict[str, Any]
    file: str
    passed_over: tuple[str, ...]


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Make a state the last one of a run; `state` holds tensors and plain Python values only.

    Raises:
        FailedError: What was written reads back otherwise. Those of before are there as they were.
        OSError: It could not be written; the same holds.
    """
    content = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, content)
    digest = hashlib.sha256(content.getbuffer()).hexdigest()
    content.seek(0, os.SEEK_END)
    content.write(_MARK + digest.encode())
    write_atomically(folder / NEW, content.getvalue())
    if not _reads_as(folder / NEW, content.getbuffer()):
        (folder / NEW).unlink()
        raise FailedError(f"{folder / RESUME} reads back otherwise than it was written: its disk or memory is failing")
    _move_up(folder)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """The state of `find_checkpoint`."""
    return find_checkpoint(folder).state


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in one file.

    Raises:
        InputError: It is damaged, or another version wrote it.
    """
    try:
        return _read(path)
    except _DamagedError as reason:
        raise InputError(f"{path} is damaged ({reason}); the model beside it is not touched by that") from None


def find_checkpoint(folder: Path) -> Found:
    """The last state that was saved in a folder, or the one before where that is missing or damaged.

    Raises:
        InputError: There is none, all are damaged, or another version wrote it.
    """
    faults: list[str] = []
    for name in CHECKPOINTS:
        path = folder / name
        if path.is_file():
            try:
                return Found(_read(path), name, tuple(faults))
            except _DamagedError as reason:
                if name != NEW:  # of a writing that did not come to its end nobody was told
                    faults.append(f"{path} is damaged ({reason})")
        elif name == RESUME and (folder / PREVIOUS).is_file():
            faults.append(f"{path} is missing")
    if faults:
        raise InputError(f"{' and '.join(faults)}; start the run again in a new folder")
    raise InputError(f"{folder} cannot be resumed: it holds no {RESUME}; give the folder of an unfinished run")


def settle_checkpoint(folder: Path, file: str) -> None:
    """Let `file`, from which a run goes on, be its last checkpoint, and clear away what is later and damaged."""
    if file == NEW:
        _move_up(folder)
        return
    (folder / NEW).unlink(missing_ok=True)
    if file == PREVIOUS:
        os.replace(folder / PREVIOUS, folder / RESUME)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something to go on from in a folder."""
    return any((folder / name).is_file() for name in CHECKPOINTS)


def remove_checkpoints(folder: Path) -> None:
    """Make a run one that is over and cannot be resumed."""
    for name in CHECKPOINTS:
        (folder / name).unlink(missing_ok=True)


class _DamagedError(Exception):
    """The message says in which way."""


def _move_up(folder: Path) -> None:
    # killed between the two, a run goes on from the new one under its first name
    if (folder / RESUME).is_file():
        os.replace(folder / RESUME, folder / PREVIOUS)
    os.replace(folder / NEW, folder / RESUME)
    sync_folder(folder)


def _reads_as(path: Path, content: memoryview) -> bool:
    """Whether a file holds these bytes, asked of the disk where the system lets go of what it remembers of a file."""
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for start in range(0, len(content), _CHUNK):
            if file.read(_CHUNK) != content[start : start + _CHUNK]:
                return False
        return not file.read(1)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            marked = _check_digest(file)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as reason:
        raise _DamagedError(reason.strerror or type(reason).__name__) from None
    except _DamagedError:
        raise
    except Exception as reason:  # torch raises many kinds for a damaged file
        raise _DamagedError(next(iter(str(reason).splitlines()), type(reason).__name__)) from None
    version = state.get("format") if isinstance(state, dict) else None
    if version not in _READABLE:
        raise InputError(f"{path} was written by another version of medmamba; start the run again in a new folder")
    if version == _FORMAT and not marked:
        raise _DamagedError("its end is missing")
    return state


def _check_digest(file: BinaryIO) -> bool:
    """Whether a file has a digest at its end, which is right then."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END))
    mark, digest = (end := file.read())[:-64], end[-64:]
    if mark != _MARK:
        return False
    found, left = hashlib.sha256(), size - _END
    file.seek(0)
    while left and (chunk := file.read(min(left, _CHUNK))):
        found.update(chunk)
        left -= len(chunk)
    if found.hexdigest().encode() != digest:
        raise _DamagedError("its bytes are not those that were written")
    return True


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What is not the same in two nested mappings, in words: `seed was 0 and is 1`."""
    words: list[str] = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            words += differences(old, new, f"{prefix}{name}.")
        elif _plain(old) != _plain(new):
            words.append(f"{prefix}{name} was {old!r} and is {new!r}")
    return words


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `InputError` naming every difference between the run in a folder and what is asked for now."""
    if words := differences(before, now):
        raise InputError(
            f"{folder} cannot be resumed with other options or data: {'; '.join(words)}; "
            "give the same as before, or another folder for a new run"
        )
