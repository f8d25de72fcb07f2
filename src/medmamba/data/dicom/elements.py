"""The few elements of a DICOM file that pixels depend on, and where its pixel data lie (DICOM PS3.5, 7 and A).

pydicom reads every element, builds every sequence by recursion, and repeats values in its warnings and errors. Here
values are kept of the elements in `WANTED` alone, none of which tells who somebody is; all others are stepped over.
What a hostile file may ask for is bounded: depth, number of elements and size of a value. Nothing is decompressed.

A file whose elements are of another kind than its transfer syntax says (with or without types) is read as it is, like
pydicom does: there are such archives.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal, NamedTuple

from medmamba.data.source import size_of
from medmamba.errors import InputError

IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
MOST_ELEMENTS = 300_000  # a thousand frames may take a hundred each
_MOST_META = 1000
MOST_DEPTH = 64  # sequences within sequences; reports go to about 20
MOST_BYTES = 1 << 18  # of one value; a table has 2^16 entries of 16 bits
UNDEFINED = 0xFFFFFFFF

PIXEL_DATA = 0x7FE00010
MODALITY_LUT, VOI_LUT = 0x00283000, 0x00283010
SHARED, PER_FRAME = 0x52009229, 0x52009230
FRAME_VOI, FRAME_RESCALE = 0x00289132, 0x00289145
_RESCALE = {0x00281052, 0x00281053}
_WINDOW = {0x00281050, 0x00281051, 0x00281056}
_TABLE = {0x00283002, 0x00283006}
_PIXELS = {0x00280000 + element for element in (2, 4, 6, 8, 0x10, 0x11, 0x100, 0x101, 0x102, 0x103, 0x120, 0x121)}
_PALETTE = {0x00280000 + element for element in (0x1101, 0x1102, 0x1103, 0x1201, 0x1202, 0x1203)}

# by the sequences in which they stand, from the outermost
WANTED: Mapping[tuple[int, ...], set[int]] = {
    (): _PIXELS | _PALETTE | _RESCALE | _WINDOW,
    (MODALITY_LUT,): _TABLE,
    (VOI_LUT,): _TABLE,
    **{
        path: wanted
        for groups in (SHARED, PER_FRAME)
        for path, wanted in {(groups,): set(), (groups, FRAME_VOI): _WINDOW, (groups, FRAME_RESCALE): _RESCALE}.items()
    },
}

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_DAMAGED = "is a damaged DICOM file: {}; copy it again or remove it"


class Value(NamedTuple):
    """An element's value as it stands in the file, and its type, empty where the file does not tell."""

    type: bytes
    content: bytes


Item = dict[int, Value]


@dataclass
class Elements:
    """What was found before the pixel data.

    Attributes:
        syntax: UID of the transfer syntax as text; empty where the file states none.
        big_endian: Whether numbers begin with their most significant byte.
        items: Values by tag, of each item of a wanted sequence: its path is sequence, number from 0, and so on inwards.
        pixels_at: Where the value of the pixel data begins.
        pixels_size: Its length in bytes; None if it is encapsulated in items.
        pixels_type: Its type, empty where the file does not tell.
    """

    syntax: str
    big_endian: bool = False
    items: dict[tuple[int, ...], Item] = field(default_factory=dict)
    pixels_at: int = 0
    pixels_size: int | None = None
    pixels_type: bytes = b""

    @property
    def top(self) -> Item:
        """The values that stand in no sequence."""
        return self.items.get((), {})


class _Level(NamedTuple):
    """Where the reader is: among the items of a sequence, or among the elements of an item or of the file."""

    holds: Literal["items", "elements"]
    end: int | None  # None: until its delimiter
    path: tuple[int, ...]
    typed: bool


def damaged(what: str) -> InputError:
    """A sentence's end about a file that does not keep to the format."""
    return InputError(_DAMAGED.format(what))


def read_elements(file: BinaryIO) -> Elements:
    """Read an open DICOM file up to its pixel data.

    Raises:
        InputError: It is damaged, deflated, holds no pixels, or is beyond a limit.
    """
    size = size_of(file)
    file.seek(132)
    syntax = _transfer_syntax(file, size)
    if syntax == DEFLATED:
        raise InputError(
            "is a deflated DICOM file (Deflated Explicit VR Little Endian), which is not read; "
            "convert it to Explicit VR Little Endian"
        )
    found = Elements(syntax, big_endian=syntax == BIG_ENDIAN)
    return _Walk(file, size, found).walk()


def _transfer_syntax(file: BinaryIO, size: int) -> str:
    """Of the file meta information, which is always little endian with types; leaves the file after it."""
    syntax = ""
    for _ in range(_MOST_META):
        start = file.tell()
        head = file.read(8)
        if len(head) < 8 or head[:2] != b"\2\0":
            file.seek(start)
            return syntax
        length = int.from_bytes(head[6:8], "little")
        if head[4:6] in _LONG:
            length = int.from_bytes(file.read(4), "little")
        if file.tell() + length > size:
            raise damaged("an element is longer than the file")
        if head[2:4] == b"\x10\0" and length <= 64:
            syntax = file.read(length).decode("ascii", "replace").strip("\0 ")
        else:
            file.seek(length, os.SEEK_CUR)
    raise damaged("it has more elements about the file than there are")


class _Walk:
    """Steps through elements and items with a list of open levels in place of recursion."""

    def __init__(self, file: BinaryIO, size: int, found: Elements) -> None:
        self.file, self.size, self.found = file, size, found
        self.order: Literal["big", "little"] = "big" if found.big_endian else "little"
        self.unpack_tag = struct.Struct(">HH" if found.big_endian else "<HH").unpack
        self.place = file.tell()

    def walk(self) -> Elements:
        first = self._read(6)
        self._go(self.place - 6)
        levels = [_Level("elements", self.size, (), first[4:6].isalpha() and first[4:6].isupper())]
        self.found.items[()] = {}
        counts: dict[tuple[int, ...], int] = {}
        for _ in range(MOST_ELEMENTS):
            level = levels[-1]
            if level.end is not None and self.place >= level.end:
                levels.pop()
                if not levels:
                    raise InputError("is a DICOM file without pixel data; give image files")
                continue
            head = self._read(8)
            group, element = self.unpack_tag(head[:4])
            tag = group << 16 | element
            if level.holds == "items":
                self._item(tag, self._number(head[4:]), levels, counts)
            elif tag == _ITEM_END and level.end is None:
                levels.pop()
            elif self._element(tag, head[4:], levels):
                return self.found
            if len(levels) > 2 * MOST_DEPTH:
                raise damaged(f"its sequences are more than {MOST_DEPTH} deep")
        raise damaged(f"it has more than {MOST_ELEMENTS} elements before its pixel data")

    def _item(self, tag: int, length: int, levels: list[_Level], counts: dict[tuple[int, ...], int]) -> None:
        level = levels[-1]
        if tag == _SEQUENCE_END and level.end is None:
            levels.pop()
        elif tag == _ITEM:
            number = counts[level.path] = counts.get(level.path, -1) + 1
            path = (*level.path, number) if level.path else ()
            levels.append(_Level("elements", self._end(length), path, level.typed))
            if path:
                self.found.items[path] = {}
        else:
            raise damaged("a sequence holds something that is no item")

    def _element(self, tag: int, rest: bytes, levels: list[_Level]) -> bool:
        """Step over one element, keeping its value if it is wanted; True if it is the pixel data of the image.

        `rest` are the four bytes after the tag: type and length, or length.
        """
        level = levels[-1]
        kind, length = self._type_and_length(rest, level.typed)
        at_top = len(levels) == 1
        inside = at_top or bool(level.path)  # of sequences of which something is wanted
        sequences = level.path[::2]
        if at_top and tag == PIXEL_DATA:
            self.found.pixels_at = self.place
            self.found.pixels_size = None if length == UNDEFINED else length
            self.found.pixels_type = kind
            return True
        if inside and (*sequences, tag) in WANTED:
            path = (*level.path, tag)
            levels.append(_Level("items", self._end(length), path, level.typed and kind != b"UN"))
        elif length == UNDEFINED:
            levels.append(_Level("items", None, (), level.typed and kind != b"UN"))
        elif inside and tag in WANTED[sequences]:
            if length > MOST_BYTES:
                raise damaged(f"an element of {length} bytes stands where a number or a table should be")
            item = self.found.items[level.path]
            item.setdefault(tag, Value(kind, self._read(length)))
        else:
            self._go(self._end(length) or 0)
        return False

    def _type_and_length(self, rest: bytes, typed: bool) -> tuple[bytes, int]:
        kind = rest[:2]
        if not typed or not (kind.isalpha() and kind.isupper()):  # some writers leave out the type of single elements
            return b"", self._number(rest)
        return kind, self._number(self._read(4) if kind in _LONG else rest[2:])

    def _end(self, length: int) -> int | None:
        if length == UNDEFINED:
            return None
        if self.place + length > self.size:
            raise damaged("an element is longer than the file")
        return self.place + length

    def _read(self, length: int) -> bytes:
        content = self.file.read(length)
        if len(content) < length:
            raise damaged("it is cut off")
        self.place += length
        return content

    def _number(self, content: bytes) -> int:
        return int.from_bytes(content, self.order)

    def _go(self, place: int) -> None:
        self.file.seek(place)
        self.place = place
