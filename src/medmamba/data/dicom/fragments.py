"""Where in a DICOM file each frame lies, and whether all that was promised is there (PS3.5, 8 and A.4)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from medmamba.data.dicom.description import Description
from medmamba.data.dicom.elements import UNDEFINED, Elements, damaged
from medmamba.errors import InputError

MOST_FRAGMENTS = 200_000
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"  # encapsulated pixel data are little endian
_STARTS = (b"\xff\xd8", b"\xff\x4f")  # of a JPEG or JPEG-LS stream, of a JPEG 2000 one
_SLACK = 65_536  # what a compressed frame may have beyond twice its size as pixels


@dataclass(frozen=True)
class _Fragment:
    """Bytes of an item in the file, and the place of that item from the end of the offset table."""

    start: int
    size: int
    offset: int


def native_frame(file: BinaryIO, elements: Elements, image: Description, size: int) -> Callable[[int], bytes]:
    """Bytes of frames that are not compressed; for one bit a pixel the whole bytes in which the frame lies.

    Raises:
        InputError: There is less than the file says, or enough for more frames.
    """
    if elements.pixels_size is None:
        raise damaged("its pixels are encapsulated, which its transfer syntax does not say")
    expected = -(-image.frame_bits * image.frames // 8)
    there = min(elements.pixels_size, size - elements.pixels_at)
    if there < expected or there < elements.pixels_size:
        raise InputError(
            f"is cut off: it holds {there} bytes of pixels, and its header asks for "
            f"{max(expected, elements.pixels_size)}; copy it again"
        )
    spare = there - expected - expected % 2  # odd lengths are filled up
    if spare >= -(-image.frame_bits // 8) or (image.photometric == "YBR_FULL_422" and there >= expected // 2 * 3):
        raise damaged(f"it holds {there} bytes of pixels, and its header asks for {expected}")

    swapped = elements.big_endian and image.allocated == 8 and elements.pixels_type == b"OW"  # bytes lie as words

    def read(index: int) -> bytes:
        start, end = image.frame_bits * index // 8, -(-image.frame_bits * (index + 1) // 8)
        odd = start % 2 if swapped else 0
        file.seek(elements.pixels_at + start - odd)
        content = file.read(end - start + odd + (end % 2 if swapped else 0))
        if swapped:
            content = np.frombuffer(content[: len(content) // 2 * 2], "u2").byteswap().tobytes()[odd:]
        return content[: end - start]

    return read


def encapsulated_frame(file: BinaryIO, elements: Elements, image: Description, size: int) -> Callable[[int], bytes]:
    """Compressed bytes of frames.

    Raises:
        InputError: An item is cut off, or there are fewer or more frames than the file says.
    """
    if elements.pixels_size is not None:
        raise damaged("its pixels are not encapsulated, as its transfer syntax says they are")
    table, fragments = _fragments(file, elements.pixels_at, size)
    frames = _by_frame(file, table, fragments, image.frames)
    most = 2 * (image.frame_bits // 8) + _SLACK

    def read(index: int) -> bytes:
        if sum(fragment.size for fragment in frames[index]) > most:
            raise damaged("a compressed frame is far larger than its pixels")
        parts = []
        for fragment in frames[index]:
            file.seek(fragment.start)
            parts.append(file.read(fragment.size))
        return b"".join(parts)

    return read


def _fragments(file: BinaryIO, place: int, size: int) -> tuple[bytes, list[_Fragment]]:
    """The basic offset table, and the items after it, up to the delimiter that must be there."""
    table: bytes | None = None
    first = 0
    fragments: list[_Fragment] = []
    while len(fragments) <= MOST_FRAGMENTS:
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[4:8], "little")
        if len(head) < 8 or place + 8 + (length if head[:4] == _ITEM else 0) > size:
            raise InputError("is cut off: its compressed pixels end before they should; copy it again")
        if head[:4] == _END:
            return table or b"", fragments
        if head[:4] != _ITEM or length == UNDEFINED:
            raise damaged("its compressed pixels hold something that is no item")
        if table is None:
            table, first = file.read(min(length, 4 * MOST_FRAGMENTS)), place + 8 + length
        else:
            fragments.append(_Fragment(place + 8, length, place - first))
        place += 8 + length
    raise damaged(f"its compressed pixels are in more than {MOST_FRAGMENTS} pieces")


def _by_frame(file: BinaryIO, table: bytes, fragments: list[_Fragment], frames: int) -> list[list[_Fragment]]:
    if frames == 1 and fragments:
        return [fragments]
    if len(fragments) == frames:
        return [[fragment] for fragment in fragments]
    starts = set(struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4]))
    if not starts:  # without a table each stream tells its beginning
        starts = {fragment.offset for fragment in fragments if _begins(file, fragment)}
    found: list[list[_Fragment]] = []
    for fragment in fragments:
        if fragment.offset in starts:
            found.append([])
        if not found:
            break
        found[-1].append(fragment)
    if len(found) != frames:
        raise damaged(f"it says that it has {frames} frames, and its compressed pixels are of {len(found)}")
    return found


def _begins(file: BinaryIO, fragment: _Fragment) -> bool:
    file.seek(fragment.start)
    return file.read(2) in _STARTS
