"""Lookup tables of DICOM: modality, VOI and palette (PS3.3, C.11.1.1, C.11.2.1.1 and C.7.6.3.1.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medmamba.data.dicom.description import integer
from medmamba.data.dicom.elements import Item, Value

DESCRIPTOR, DATA = 0x00283002, 0x00283006


@dataclass(frozen=True)
class Table:
    """A number for each number.

    Attributes:
        first: What the first entry stands for; less takes the first entry, and more than the last one the last.
        entries: uint16.
        bits: Of an entry, 8 to 16.
    """

    first: int
    entries: np.ndarray
    bits: int

    def look_up(self, values: np.ndarray) -> np.ndarray:
        """The entries for whole numbers of any type and shape, uint16."""
        place = np.clip(values.astype(np.int32) - self.first, 0, len(self.entries) - 1)
        return self.entries[place]


def read_table(descriptor: Value | None, data: Value | None, *, big_endian: bool, signed: bool) -> Table | None:
    """A table of two elements, or None where they are missing or do not make one.

    Args:
        descriptor: Three numbers: entries (0 for 65536), first number, bits.
        data: The entries, of 16 bits each, or of 8 if there are only so many bytes.
        big_endian: Of the file.
        signed: Whether the first number is, where the type of the descriptor does not tell.
    """
    if descriptor is None or data is None or len(descriptor.content) < 6:
        return None
    parts = [Value(descriptor.type, descriptor.content[k : k + 2]) for k in (0, 2, 4)]
    by_type = {b"SS": True, b"US": False}.get(descriptor.type, signed)
    count, bits = (integer(parts[k], big_endian=big_endian) or 0 for k in (0, 2))
    first = integer(parts[1], big_endian=big_endian, signed=by_type) or 0
    count = count or 1 << 16
    if not 8 <= bits <= 16:
        return None
    if bits == 8 and count <= len(data.content) < 2 * count:
        entries = np.frombuffer(data.content, np.uint8, count).astype(np.uint16)
    elif len(data.content) >= 2 * count:
        entries = np.frombuffer(data.content, ">u2" if big_endian else "<u2", count).astype(np.uint16)
    else:
        return None
    return Table(first, entries, bits)


def table_of(item: Item, *, big_endian: bool, signed: bool) -> Table | None:
    """The table of an item of a modality or VOI LUT sequence."""
    return read_table(item.get(DESCRIPTOR), item.get(DATA), big_endian=big_endian, signed=signed)
