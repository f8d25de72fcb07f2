"""DICOM images: one frame at a time, and of the header nothing but what pixels depend on.

Nothing that tells who somebody is is kept, logged or repeated: see `elements.py`, which reads numbers alone, and
`decoding.py`, which does not repeat what decoders say.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from medmamba.data.dicom.decoding import decode, require_pydicom, syntax_of
from medmamba.data.dicom.description import GREY, PALETTE, describe
from medmamba.data.dicom.elements import Elements, Item, damaged, read_elements
from medmamba.data.dicom.fragments import encapsulated_frame, native_frame
from medmamba.data.dicom.grey import to_grey
from medmamba.data.dicom.tables import read_table
from medmamba.data.settings import Frames, Reading
from medmamba.data.source import size_of
from medmamba.errors import InputError

__all__ = ["is_dicom", "open_dicom"]

_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)  # of the palette: red, green, blue
_ENTRIES = (0x00281201, 0x00281202, 0x00281203)


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so is a DICOM file: 128 bytes of anything, then DICM."""
    return head[128:132] == b"DICM"


def open_dicom(file: BinaryIO, reading: Reading) -> Frames:
    """The frames of an open DICOM file.

    Grey images: see `grey.py`. Colours become RGB; of colours with more than 8 bits the upper 8 are kept.

    Raises:
        InputError: It is damaged, too large, no image, or in a form that is not read; or pydicom is not installed.
    """
    require_pydicom()
    with _own_words():
        size = size_of(file)
        elements = read_elements(file)
        image = describe(elements, max_pixels=reading.max_pixels)
        syntax = syntax_of(elements.syntax)
        locate = encapsulated_frame if syntax.stream else native_frame
        frame_bytes = locate(file, elements, image, size)

    def read(index: int) -> np.ndarray:
        with _own_words():
            samples = decode(frame_bytes(index), elements.syntax, image, bit=image.frame_bits * index % 8)
            if image.photometric in GREY:
                return to_grey(samples, elements, image, index, reading.stated_window)
            if image.photometric == PALETTE:
                return _painted(samples, elements.top, elements)
            return _upper_bits(samples, image.stored)

    return Frames(image.frames, f"DICOM {image.photometric} {image.stored} bit", read)


@contextmanager
def _own_words() -> Iterator[None]:
    """No error but ours: the words of another may repeat what the file holds."""
    try:
        yield
    except InputError:
        raise
    except Exception as reason:
        raise damaged(f"it cannot be read ({type(reason).__name__})") from None


def _painted(samples: np.ndarray, item: Item, elements: Elements) -> np.ndarray:
    """Palette indices (h, w) to RGB."""
    planes = []
    for descriptor, entries in zip(_DESCRIPTORS, _ENTRIES, strict=True):
        table = read_table(item.get(descriptor), item.get(entries), big_endian=elements.big_endian, signed=False)
        if table is None:
            raise damaged("its palette is missing, segmented or none")
        planes.append(_upper_bits(table.look_up(samples), table.bits))
    return np.stack(planes, axis=-1)


def _upper_bits(samples: np.ndarray, bits: int) -> np.ndarray:
    """Of unsigned numbers the upper 8 bits, uint8, in memory row by row."""
    return np.ascontiguousarray(samples >> (bits - 8) if bits > 8 else samples).astype(np.uint8)
