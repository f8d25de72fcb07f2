"""Arrays in `.npz` files that need not fit into memory: small ones are read, large ones are mapped from disk.

An array that lies uncompressed in its file is mapped where it is. A compressed one is unpacked once, in pieces, into a
`.npy` beside the file, or in the user's cache where that folder cannot be written to or has no room.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import shutil
import struct
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from medmamba.errors import InputError
from medmamba.writing import replacing

logger = logging.getLogger(__name__)

LARGE = 256 * 1024**2  # bytes from which an array is mapped and not read
PIECE = 1024**2  # bytes that are unpacked at once
_OPENING = threading.Lock()
ROOM = 64 * 1024**2  # bytes that an unpacked array leaves free on its disk
BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, KeyError, struct.error, MemoryError),
    RuntimeError,  # of zipfile: a version, a compression or a password that it does not know
)


class Pixels(Protocol):
    """Images one by one: a numpy array, or one that stays on disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True)
class Header:
    """What an array is, before it is read.

    Attributes:
        shape: Of the array.
        dtype: Of its values.
        order: `C` or `F`.
        start: Bytes before the values in the member.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    order: str
    start: int

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


class Mapped:
    """An array on disk, (n, ...). Only what is asked for is read; a copy in another process maps the file again.

    Attributes:
        path: The file.
        offset: Of the first value in it, in bytes.
        header: What the array is.
    """

    def __init__(self, path: Path, offset: int, header: Header) -> None:
        """Remember the place; the file is opened with the first image."""
        self.path, self.offset, self.header = path, offset, header
        self._map: np.memmap | None = None

    def __len__(self) -> int:
        return self.header.shape[0]

    def __getitem__(self, index: int, /) -> Any:
        if self._map is None:
            order: Any = self.header.order
            self._map = np.memmap(self.path, self.header.dtype, "r", self.offset, self.header.shape, order)
        return self._map[index]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}  # numpy would write the values themselves


class Later:
    """An array that is opened when its first image is asked for: labels may be all that is wanted.

    Attributes:
        open: How; it can be pickled.
        header: What the array is.
    """

    def __init__(self, open: Callable[[], Pixels], header: Header) -> None:
        """Remember how to open it."""
        self.open, self.header = open, header
        self._array: Pixels | None = None

    def __len__(self) -> int:
        return self.header.shape[0]

    def __getitem__(self, index: int, /) -> Any:
        with _OPENING:  # several threads read at once, and one of them is to unpack it
            if self._array is None:
                self._array = self.open()
        return self._array[index]


class Joined:
    """Several arrays one after the other, without copying them."""

    def __init__(self, parts: Sequence[Pixels]) -> None:
        """Take arrays whose images are of one kind."""
        self.parts = list(parts)
        self.ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int, /) -> Any:
        position = range(len(self))[index]  # negative ones count from the end, as everywhere
        part = int(np.searchsorted(self.ends, position, side="right"))
        return self.parts[part][position - int(self.ends[part]) + len(self.parts[part])]


class Chosen:
    """Some images of an array, in an order of their own, without copying them."""

    def __init__(self, whole: Pixels, rows: Sequence[int]) -> None:
        """Take an array and the places in it of the images that are wanted."""
        self.whole, self.rows = whole, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Any:
        return self.whole[self.rows[index]]


def amount(size: int) -> str:
    """A number of bytes in words: `2.3 MB`, `14.0 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def in_words(array: Pixels) -> str:
    """Where an array is and how large: `2.3 MB in memory`, or `14.0 GB mapped from disk`."""
    if isinstance(array, Joined):
        return ", ".join(in_words(part) for part in array.parts)
    if isinstance(array, Mapped | Later):
        return f"{amount(array.header.size)} mapped from disk"
    return f"{amount(getattr(array, 'nbytes', 0))} in memory"


def read_header(path: Path, member: str) -> Header:
    """The header of one array of a `.npz`, without unpacking it.

    Raises:
        InputError: There is no such array.
        zipfile.BadZipFile, ValueError and others of `BROKEN`: The file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        if f"{member}.npy" not in archive.namelist():
            raise InputError(f"{path} has no array {member}; a MedMNIST file has images and labels of all splits")
        with archive.open(f"{member}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            return Header(shape, dtype, "F" if fortran else "C", file.tell())


def open_array(path: Path, member: str, *, large: int = LARGE) -> np.ndarray | Mapped:
    """One array of a `.npz`: read if it is small, else mapped from disk.

    Args:
        path: The `.npz`.
        member: Name of the array.
        large: Bytes from which it is mapped.

    Raises:
        InputError: It has to be unpacked, and no disk has the room.
        zipfile.BadZipFile, ValueError and others of `BROKEN`: The file is damaged.
    """
    header = read_header(path, member)
    if header.size < max(large, 1):
        with np.load(path, allow_pickle=False) as arrays:
            values: np.ndarray = arrays[member]
            return values
    if header.dtype.hasobject:
        raise ValueError(f"{member} holds objects, not numbers")
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{member}.npy")
    if info.file_size != header.start + header.size:
        raise ValueError(f"{member} has {info.file_size - header.start} bytes of values, its header says {header.size}")
    status = path.stat()
    if info.compress_type == zipfile.ZIP_STORED:
        _check_once(path, info.filename, (status.st_size, status.st_mtime_ns))
        return Mapped(path, _start_of(path, info) + header.start, header)
    return Mapped(_unpacked(path, info), header.start, header)


def _start_of(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the content of a stored member begins: its local header may be longer than the directory says."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        local = file.read(30)
    name, extra = struct.unpack("<HH", local[26:30])
    return info.header_offset + 30 + int(name) + int(extra)


@lru_cache(maxsize=64)
def _check_once(path: Path, member: str, state: tuple[int, int]) -> None:
    """Compare a stored array with its checksum, once in a process for each state of the file."""
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        for _ in _pieces(file):
            continue


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    """The content of a member in pieces; at its end zipfile compares the checksum."""
    while piece := file.read(PIECE):
        yield piece


def _unpacked(path: Path, info: zipfile.ZipInfo) -> Path:
    """The `.npy` with the content of a compressed member, unpacked now if that was not done before.

    Its name holds the member's checksum and it appears whole, so one that is there is right.
    """
    name = f"{path.stem}.{Path(info.filename).stem}.{info.CRC:08x}.npy"
    places = [path.parent / name, cache_folder() / name]
    for place in places:
        if place.is_file() and place.stat().st_size == info.file_size:
            return place
    lacking = []
    for place in places:
        if (reason := _why_not(place.parent, info.file_size)) is None:
            logger.info(
                "%s: unpacking %s once, %s, into %s, which may be deleted when it is not in use",
                path.name,
                Path(info.filename).stem,
                amount(info.file_size),
                place,
            )
            _unpack(path, info, place)
            return place
        lacking.append(f"{place.parent} {reason}")
    raise InputError(
        f"{path} holds {Path(info.filename).stem} compressed, {amount(info.file_size)} to unpack, but "
        f"{' and '.join(lacking)}; make room, or let XDG_CACHE_HOME name a folder on another disk"
    )


def cache_folder() -> Path:
    """Where arrays are unpacked that cannot lie beside their file."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medmamba" / "arrays"


def _why_not(folder: Path, size: int) -> str | None:
    """Why a file of that size cannot be written to a folder, which is made if needed; None if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as reason:
        return f"cannot be written to ({reason.strerror})"
    return None if free >= size + ROOM else f"has {amount(free)} free"


def _unpack(path: Path, info: zipfile.ZipInfo, place: Path) -> None:
    try:
        with replacing(place) as out, zipfile.ZipFile(path) as archive, archive.open(info) as file:
            for piece in _pieces(file):
                out.write(piece)
    except OSError as reason:
        if reason.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{place.parent} became full while {path.name} was unpacked; make room there") from reason
