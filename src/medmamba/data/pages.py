"""How many pages a TIFF file has, and how many frames a GIF, counted without reading them, and not without end.

Pillow reads the directory of every page to count them, which takes seconds for a small file of ten thousand.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Literal

from medmamba.data.source import size_of
from medmamba.errors import InputError

MOST_PAGES = 5000


def _counted(pages: int) -> int:
    if pages > MOST_PAGES:
        raise InputError(f"has more than {MOST_PAGES} frames or pages; save the one that is meant as an image")
    return pages


def tiff_pages(file: BinaryIO) -> int:
    """Length of the chain of directories (TIFF 6.0, section 2; BigTIFF), up to what does not hold together.

    Raises:
        InputError: There are more than `MOST_PAGES`, or they go in a circle.
    """
    size = size_of(file)
    file.seek(0)
    head = file.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = 43 in (head[2], head[3])
    width, count_width, entry = (8, 8, 20) if big else (4, 2, 12)
    place = int.from_bytes(head[8:16] if big else head[4:8], order)
    pages = 0
    while 0 < place < size and pages <= MOST_PAGES:
        pages += 1
        file.seek(place)
        entries = int.from_bytes(file.read(count_width), order)
        if place + count_width + entries * entry > size:
            break
        file.seek(entries * entry, os.SEEK_CUR)
        place = int.from_bytes(file.read(width), order)
    return _counted(max(1, pages))


def gif_frames(file: BinaryIO) -> int:
    """Image blocks (GIF89a, 20), up to the end or to what is no block.

    Raises:
        InputError: There are more than `MOST_PAGES`.
    """
    file.seek(0)
    head = file.read(13)
    file.seek(_table_bytes(head[10]), os.SEEK_CUR)
    frames = 0
    while frames <= MOST_PAGES:
        kind = file.read(1)
        if kind == b",":
            descriptor = file.read(9)
            if len(descriptor) < 9:
                break
            frames += 1
            file.seek(_table_bytes(descriptor[8]) + 1, os.SEEK_CUR)  # and how many bits codes begin with
        elif kind == b"!":
            file.seek(1, os.SEEK_CUR)
        elif kind == b"\0":  # some writers pad
            continue
        else:
            break
        while length := file.read(1):
            if length == b"\0":
                break
            file.seek(length[0], os.SEEK_CUR)
    return _counted(max(1, frames))


def _table_bytes(flags: int) -> int:
    """Of the colour table that flags tell of."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
