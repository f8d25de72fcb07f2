"""Files and folders that appear whole or not at all, also when the machine stops at that moment."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from medmamba.errors import FailedError, InputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FILE = "there is a folder, a device or a pipe"
_NOT_FOR_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # what file systems say that sync no folders


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace a file whole: whoever reads it, whenever this process dies, finds the old content or the new.

    Raises:
        FailedError: The disk is full, the folder is missing or may not be written to; the old content is kept.
    """
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as reason:
        raise FailedError(not_written(Path(path), reason)) from reason


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write to piece by piece, which takes the place of `path` when the block ends without an error.

    Raises:
        OSError: As the system says it; or a device, a pipe or the like is in its place.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, _NO_FILE, str(path))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private, a run is for colleagues too
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def new_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write into that becomes `out`, which is not there or empty, when the block ends without an error.

    Raises:
        InputError: Nothing can be written where `out` is to be.
        FailedError: It could be written beside `out`, but not put in its place.
    """
    out = Path(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as reason:
        raise InputError(f"nothing can be written to {out} ({reason.strerror}); name another folder") from None
    try:
        yield beside
        try:
            os.chmod(beside, 0o755)
            if out.is_dir():
                out.rmdir()  # an empty one would be in the way on Windows
            os.rename(beside, out)
        except OSError as reason:
            raise FailedError(not_written(out, reason)) from reason
        sync_folder(out.parent)
    except FailedError as reason:
        raise FailedError(str(reason).replace(str(beside), str(out))) from reason
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise `InputError` unless a file can be written there: asked before the work whose result it is to take."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file")
    if path.is_symlink():  # which would be replaced, not what it leads to
        raise InputError(f"{path} is a link to {os.readlink(path)}; name the file itself")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a device or a pipe; name a file")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write {path.name} in; make it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path} cannot be written: {path.parent} may not be written to; name another place")


def check_replaced(path: str | os.PathLike[str], verb: str, is_own: Callable[[Path], bool]) -> None:
    """Raise `InputError` unless nothing is lost where a result takes a file's place.

    What may be replaced is a result of the same kind, as it is with a command that is given again, or an empty file.
    Anything else is somebody's picture, table or model, which a forgotten or misspelt name would cost.

    Args:
        path: Where the result is to go; nothing need be there.
        verb: Of the command whose result it is.
        is_own: Whether a file is a result of that command, told by its content.
    """
    path = Path(path)
    if path.exists() and path.stat().st_size and not is_own(path):
        raise InputError(f"{path} is there already and was not written by medmamba {verb}; name another file")


def head(path: Path, size: int = 2**20) -> bytes:
    """The first bytes of a file, by which its kind is told; none of a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def writable_folder(folder: str | os.PathLike[str]) -> Path:
    """A folder that files are to go into and that is made if needed: asked before the work whose results it is to take.

    Raises:
        InputError: A file is in its place, or nothing can be written where it is or is to be.
    """
    folder = Path(folder)
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"{there} is a file; name a folder to write to")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"nothing can be written to {folder}: {there} may not be written to; name another folder")
    return folder


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there yet.

    Raises:
        FailedError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise FailedError(not_written(folder, reason)) from reason


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk as well, where the system can: a rename alone may be lost with power."""
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to and not listed
        return
    try:
        os.fsync(handle)
    except OSError as reason:
        if reason.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(handle)


def not_written(path: Path, reason: OSError) -> str:
    """One sentence for what the system said."""
    kept = "; what was there before is kept" if path.exists() else ""
    if reason.errno in _FULL:
        return f"{path} could not be written: the disk is full; make room and do it again{kept}"
    if reason.errno in _FORBIDDEN:
        return (
            f"{path} could not be written: {path.parent} may not be written to; mend that or name another place{kept}"
        )
    if not path.parent.is_dir():
        return f"{path} could not be written: there is no folder {path.parent}; make it first"
    if path.exists() and not path.is_file():
        return f"{path} could not be written: {_NO_FILE}; name another place"
    return f"{path} could not be written ({reason.strerror or reason}); look after the disk{kept}"
