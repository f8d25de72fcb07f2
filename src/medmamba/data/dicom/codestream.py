"""What a compressed frame says of itself, read before a decoder is given it.

A decoder takes its memory from these numbers, not from the file's header, so they must agree. JPEG and JPEG-LS: ITU-T
T.81, B.2 and T.87, C.2; JPEG 2000: ITU-T T.800, A.5.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MOST_TILES = 4096  # of JPEG 2000: a decoder keeps several kilobytes for each

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # start of frame: JPEG's, and JPEG-LS's
_ALONE = frozenset(range(0xD0, 0xD9)) | {0x01}  # markers without a length
_SCAN, _END = 0xDA, 0xD9


@dataclass(frozen=True)
class Codestream:
    """Size and depth of one compressed frame.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        samples: A pixel.
        bits: A sample.
        process: The marker that starts a JPEG frame, 0xC0 to 0xCF or 0xF7; 0 for JPEG 2000.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    process: int = 0


def read_jpeg(data: bytes) -> Codestream | None:
    """The frame header of a JPEG or JPEG-LS stream, or None where there is none, or several, or they cannot be read."""
    if data[:2] != b"\xff\xd8":
        return None
    place, found = 2, None
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF or marker in _ALONE:  # fill bytes may stand before any marker
            place += 1 if marker == 0xFF else 2
            continue
        if marker in (_SCAN, _END):
            break
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _FRAMES:
            if found is not None or length < 8 or place + 10 > len(data):
                return None
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, place + 4)
            found = Codestream(rows, columns, samples, bits, marker)
        place += 2 + length
    return found


def read_jpeg2000(data: bytes) -> Codestream | None:
    """The size segment of a JPEG 2000 codestream, or None where there is none or its numbers make no image.

    An image of more than `MOST_TILES` tiles, or whose samples differ in depth or in size, is none for us.
    """
    if data[:4] != b"\xff\x4f\xff\x51" or len(data) < 42:
        return None
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, samples = struct.unpack_from(
        ">8IH", data, 8
    )
    each = data[42 : 42 + 3 * samples]
    if not (left < right and top < bottom and tile_width and tile_height and samples and len(each) == 3 * samples):
        return None
    if tile_left > left or tile_top > top or len({each[k : k + 3] for k in range(0, len(each), 3)}) != 1:
        return None
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > MOST_TILES or each[1:3] != b"\1\1":
        return None
    return Codestream(bottom - top, right - left, samples, (each[0] & 0x7F) + 1)
