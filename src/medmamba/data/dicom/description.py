"""What a DICOM file says its pixels are: read from its elements, and refused where it makes no sense."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medmamba.data.dicom.elements import Elements, Item, Value, damaged
from medmamba.data.raster import check_pixels
from medmamba.data.windows import parse_number
from medmamba.errors import InputError

GREY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_DEPTHS = (1, 8, 16, 32)
MOST_FRAMES = 1_000_000

SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS = (0x00280000 + k for k in (2, 4, 6, 8, 0x10, 0x11))
ALLOCATED, STORED, HIGH_BIT, SIGNED = (0x00280000 + k for k in (0x100, 0x101, 0x102, 0x103))


@dataclass(frozen=True)
class Description:
    """The image pixel module (DICOM PS3.3, C.7.6.3).

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        frames: How many there are.
        samples: A pixel: 1 or 3.
        photometric: What the samples mean; one of `GREY`, `PALETTE` or `COLOUR`.
        allocated: Bits that a sample takes: 1, 8, 16 or 32.
        stored: Bits of it that are used, the lower ones.
        signed: Whether grey values may be negative.
        planar: Whether each colour has a plane of its own.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    signed: bool
    planar: bool

    @property
    def frame_bits(self) -> int:
        """Of one frame that is not compressed."""
        halved = self.photometric == "YBR_FULL_422"  # two pixels share their colour
        samples = 2 if halved else self.samples
        return self.rows * self.columns * samples * self.allocated


def describe(elements: Elements, *, max_pixels: int) -> Description:
    """The description of a file's pixels.

    Raises:
        InputError: An element is missing or makes no sense, or a frame has more than `max_pixels` pixels.
    """
    item = elements.top

    def number(tag: int, name: str, default: int | None = None) -> int:
        return _number(item, tag, name, default, big_endian=elements.big_endian)

    rows, columns = number(ROWS, "Rows"), number(COLUMNS, "Columns")
    if rows < 1 or columns < 1:
        raise damaged(f"it has {rows} rows and {columns} columns")
    check_pixels(columns, rows, max_pixels)
    photometric = text_of(item.get(PHOTOMETRIC))
    if photometric not in (*GREY, PALETTE, *COLOUR):
        raise InputError(
            "is a DICOM file whose photometric interpretation is missing or none of those that are read: "
            f"{', '.join((*GREY, PALETTE, *COLOUR))}; convert it to one of them"
        )
    samples = number(SAMPLES, "Samples per Pixel", 3 if photometric in COLOUR else 1)
    if samples != (3 if photometric in COLOUR else 1):
        raise damaged(f"it has {samples} samples a pixel, which does not go with {photometric}")
    allocated = number(ALLOCATED, "Bits Allocated")
    stored = number(STORED, "Bits Stored", allocated)
    if allocated not in _DEPTHS or not 1 <= stored <= allocated or (samples == 3 and stored < 8):
        raise InputError(f"is a DICOM file of {stored} in {allocated} bits, which is not read; expected 8 to 16, or 1")
    if number(HIGH_BIT, "High Bit", stored - 1) != stored - 1:
        raise InputError("is a DICOM file whose bits do not lie in the lower part of each number; convert it")
    return Description(
        rows=rows,
        columns=columns,
        frames=_frames(item),
        samples=samples,
        photometric=photometric,
        allocated=allocated,
        stored=stored,
        signed=number(SIGNED, "Pixel Representation", 0) == 1 and photometric in GREY,
        planar=samples == 3 and number(PLANAR, "Planar Configuration", 0) == 1,
    )


def text_of(value: Value | None) -> str:
    """A value as ASCII text without padding; empty if it is missing."""
    return "" if value is None else value.content.decode("ascii", "replace").strip("\0 ")


def decimals(value: Value | None) -> list[float | None]:
    """Decimal strings, None for each that is no number; empty if it is missing or empty."""
    text = text_of(value)
    return [parse_number(part.strip()) for part in text.split("\\")] if text else []


def integer(value: Value, *, big_endian: bool, signed: bool = False) -> int | None:
    """The first 16-bit number of a value; None where there is none."""
    if len(value.content) < 2:
        return None
    return int.from_bytes(value.content[:2], "big" if big_endian else "little", signed=signed)


def _number(item: Item, tag: int, name: str, default: int | None, *, big_endian: bool) -> int:
    value = integer(item[tag], big_endian=big_endian) if tag in item else None
    if value is None:
        value = default
    if value is None:
        raise damaged(f"it does not say its {name}")
    return value


def _frames(item: Item) -> int:
    text = text_of(item.get(FRAMES)) or "1"
    if not re.fullmatch(r"\+?\d{1,9}", text) or not 1 <= int(text) <= MOST_FRAMES:
        raise damaged("its Number of Frames is no number that makes sense")
    return int(text)
