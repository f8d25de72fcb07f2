"""Grey values: first what was measured, then what is shown of it.

1. The modality LUT, or rescale slope and intercept: from stored numbers to Hounsfield units or the like.
2. The first of these that there is and that makes sense:
   - the window that the model was given. It is in units, so it does not hold for 8-bit images without a rescale, as it
     does not for other files of 8 bits;
   - the file's own first window, with its function (LINEAR, LINEAR_EXACT or SIGMOID);
   - the file's first VOI LUT;
   - for 8 bits or fewer, unsigned and without a rescale that changes them: the numbers as they are;
   - from the 0.5th to the 99.5th percentile of all values that are not padding.
3. MONOCHROME1, where low numbers are bright, is inverted: once, and last.

A rescale or window of one frame (in functional groups) goes before one of all frames.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from medmamba.data.dicom.description import Description, decimals, integer, text_of
from medmamba.data.dicom.elements import (
    FRAME_RESCALE,
    FRAME_VOI,
    MODALITY_LUT,
    PER_FRAME,
    SHARED,
    VOI_LUT,
    Elements,
    Item,
    damaged,
)
from medmamba.data.dicom.tables import Table, table_of
from medmamba.data.windows import Scaling, Window, by_range, finite_range, to_bytes

logger = logging.getLogger(__name__)

INTERCEPT, SLOPE = 0x00281052, 0x00281053
CENTER, WIDTH, FUNCTION = 0x00281050, 0x00281051, 0x00281056
PADDING, PADDING_LIMIT = 0x00280120, 0x00280121
PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Rescale:
    """Units = slope x number + intercept."""

    slope: float
    intercept: float

    def units(self, values: np.ndarray) -> np.ndarray:
        """float64 to float64."""
        return values * self.slope + self.intercept


_NONE = Rescale(1.0, 0.0)


def to_grey(
    stored: np.ndarray, elements: Elements, image: Description, frame: int, window: Window | None
) -> np.ndarray:
    """Stored numbers of one frame, (h, w) of any whole type, to uint8 (h, w).

    Raises:
        InputError: The modality LUT or rescale makes no sense, so that the values are unknown.
    """
    numbers, rescale = _measured(stored, elements, image, frame)
    plain = image.stored <= 8 and not image.signed and numbers is stored and rescale is None
    rescale = rescale or _NONE
    shown, what = _stated(elements, image, frame, rescale, None if plain else window)
    if shown is None and plain:
        shown, what = by_range(0, (1 << image.stored) - 1), "the numbers as they are"
    if shown is None:
        shown, what = _by_percentiles(numbers[~_padding(stored, elements, image)], rescale), "percentiles"
    logger.debug("frame %d is shown by %s", frame + 1, what)  # without a number of the file, which may be anything
    return to_bytes(numbers, _after(rescale, shown), inverted=image.photometric == "MONOCHROME1")


def _after(rescale: Rescale, shown: Scaling) -> Scaling:
    return lambda values: shown(rescale.units(values))


def _measured(
    stored: np.ndarray, elements: Elements, image: Description, frame: int
) -> tuple[np.ndarray, Rescale | None]:
    """Numbers after a modality LUT, and the rescale that is still to be done; there is one of both at most."""
    if (item := elements.items.get((MODALITY_LUT, 0))) is not None:
        table = table_of(item, big_endian=elements.big_endian, signed=image.signed)
        if table is None:
            raise damaged("its modality LUT is none")
        return table.look_up(stored), None
    item = _of_frame(elements, frame, FRAME_RESCALE, SLOPE)
    slope, intercept = (decimals(item.get(tag)) for tag in (SLOPE, INTERCEPT))
    first = (slope or [1.0])[0], (intercept or [0.0])[0]
    if first[0] in (None, 0.0) or None in first or not np.isfinite(np.array(first, float)).all():
        raise damaged("its rescale slope and intercept are no numbers that make sense")
    rescale = Rescale(float(first[0] or 0), float(first[1] or 0))
    return stored, None if rescale == _NONE else rescale


def _of_frame(elements: Elements, frame: int, sequence: int, tag: int) -> Item:
    """The values of a frame's own functional group, else of that of all frames, else of the file."""
    for path in ((PER_FRAME, frame, sequence, 0), (SHARED, 0, sequence, 0)):
        if tag in (item := elements.items.get(path, {})):
            return item
    return elements.top


def _stated(
    elements: Elements, image: Description, frame: int, rescale: Rescale, window: Window | None
) -> tuple[Scaling | None, str]:
    """How units become 0 to 255 by the stated window or by what the file says, and which in words; else None."""
    if window is not None:
        return window.scaled, "the stated window"
    if (own := _window(_of_frame(elements, frame, FRAME_VOI, CENTER))) is not None:
        return own.scaled, "the file's window"
    if (item := elements.items.get((VOI_LUT, 0))) is not None:
        negative = image.signed or rescale.intercept < 0 or rescale.slope < 0
        if (table := table_of(item, big_endian=elements.big_endian, signed=negative)) is not None:
            return _by_table(table), "the file's VOI LUT"
    return None, ""


def _window(item: Item) -> Window | None:
    """The first window of several, if it makes sense."""
    center, width = (decimals(item.get(tag))[:1] for tag in (CENTER, WIDTH))
    if not center or not width or center[0] is None or width[0] is None:
        return None
    window = Window(center[0], width[0], text_of(item.get(FUNCTION)) or "LINEAR")
    return window if window.sensible else None


def _by_table(table: Table) -> Scaling:
    most = (1 << table.bits) - 1
    limits = np.iinfo(np.int32)
    return lambda units: table.look_up(np.clip(np.rint(units), limits.min // 2, limits.max // 2)) * 255.0 / most


def _by_percentiles(numbers: np.ndarray, rescale: Rescale) -> Scaling:
    if numbers.size == 0:  # all is padding
        return by_range(0, 0)
    ends = np.percentile(numbers, PERCENTILES)
    if ends[0] == ends[1]:
        ends = np.array(finite_range(numbers))
    low, high = sorted(rescale.units(ends).tolist())
    return by_range(low, high)


def _padding(stored: np.ndarray, elements: Elements, image: Description) -> np.ndarray:
    """Where the stored numbers are padding, bool (h, w)."""
    ends = []
    for tag in (PADDING, PADDING_LIMIT):
        value = elements.top.get(tag)
        number = None if value is None else integer(value, big_endian=elements.big_endian, signed=image.signed)
        ends += [] if number is None else [number]
    if PADDING not in elements.top or not ends:
        return np.zeros(stored.shape, bool)
    return (stored >= min(ends)) & (stored <= max(ends))
