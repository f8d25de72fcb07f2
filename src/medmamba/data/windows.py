"""From values of any depth to the 8 bits that a model sees: by a window, or by a range.

A window is a centre and a width in the units of the values: Hounsfield units for CT, the stored numbers otherwise. What
lies below it is black, what lies above it white. The three functions are those of DICOM PS3.3, C.11.2.1.2 and
C.11.2.1.3. A window that the user states is `LINEAR_EXACT`, for any units and any width above 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from medmamba.errors import InputError, suggest

FILE = "file"
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
BLOCK = 1 << 22  # values that are computed at once, so that memory does not grow with the image

Scaling = Callable[[np.ndarray], np.ndarray]  # float64 values, finite, to 0..255, not yet rounded


@dataclass(frozen=True)
class Window:
    """Which values are told apart.

    Attributes:
        center: The value in the middle.
        width: From black to white, more than 0; 1 or more for `LINEAR`.
        function: One of `FUNCTIONS`.
    """

    center: float
    width: float
    function: str = "LINEAR_EXACT"

    @property
    def sensible(self) -> bool:
        """Whether the numbers make a window."""
        least = 1.0 if self.function == "LINEAR" else math.ulp(0.0)
        return self.function in FUNCTIONS and math.isfinite(self.center) and least <= self.width < math.inf

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """float64 values to float64 in 0 to 255."""
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):  # exp of a large number is infinity, and one by it 0
                return 255.0 / (1.0 + np.exp(-4.0 * (values - self.center) / self.width))
        center, width = self.center, self.width
        if self.function == "LINEAR":
            center, width = center - 0.5, width - 1.0
            if width == 0.0:
                return np.where(values > center, 255.0, 0.0)
        return np.clip(((values - center) / width + 0.5) * 255.0, 0.0, 255.0)


# of CT, in Hounsfield units: what radiologists commonly set
PRESETS: Mapping[str, Window] = {
    "abdomen": Window(50, 400),
    "bone": Window(400, 1800),
    "brain": Window(40, 80),
    "liver": Window(30, 150),
    "lung": Window(-600, 1500),
    "mediastinum": Window(50, 350),
    "soft-tissue": Window(40, 400),
    "spine": Window(50, 250),
    "stroke": Window(40, 40),
    "subdural": Window(75, 215),
}


def parse_window(text: str) -> Window | None:
    """The window of a preset's name or of `CENTER,WIDTH`; None for `file`.

    Raises:
        InputError: It is none of them.
    """
    if text == FILE:
        return None
    if text in PRESETS:
        return PRESETS[text]
    if found := re.fullmatch(r"\s*([^,\s]+)\s*,\s*([^,\s]+)\s*", text):
        center, width = (parse_number(part) for part in found.groups())
        if center is not None and width is not None and (window := Window(center, width)).sensible:
            return window
    names = (FILE, *PRESETS)
    raise InputError(
        f"the window {text!r} is none: give CENTER,WIDTH with a width above 0, as -650,1500, or one of "
        f"{', '.join(names)}{suggest(text, names)}"
    )


def parse_number(text: str) -> float | None:
    """A decimal number as people and DICOM write it; None for anything else, also for what only Python reads."""
    return float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) else None


def by_range(low: float, high: float) -> Scaling:
    """Low to 0 and high to 255, what lies beyond to these; all to 0 if they are one value."""
    factor = 255.0 / (high - low) if high > low else 0.0
    return lambda values: np.clip((values - low) * factor, 0.0, 255.0)


def to_bytes(values: np.ndarray, scaling: Scaling, *, inverted: bool = False) -> np.ndarray:
    """Values of any type and shape to uint8, rounded to the nearest; what is not finite becomes 0 before inversion."""
    flat = values.reshape(-1)
    result = np.empty(flat.shape, np.uint8)
    few = values.dtype.kind in "ui" and values.dtype.itemsize <= 2
    if few:  # the answer for each number that there is, instead of for each pixel
        least, most = (int(end) for end in finite_range(values))
        table = _bytes(np.arange(least, most + 1), scaling, inverted)
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK]
        result[start : start + BLOCK] = (
            table[block.astype(np.int32) - least] if few else _bytes(block, scaling, inverted)
        )
    return result.reshape(values.shape)


def _bytes(values: np.ndarray, scaling: Scaling, inverted: bool) -> np.ndarray:
    block = values.astype(np.float64)
    finite = np.isfinite(block)
    block[~finite] = 0.0
    scaled = np.rint(scaling(block))
    scaled[~finite] = 0.0
    return (255.0 - scaled if inverted else scaled).astype(np.uint8)


def scale(values: np.ndarray, window: Window | None, *, inverted: bool = False) -> np.ndarray:
    """Values of any depth to uint8: by a window, or by their own least and greatest finite value."""
    if window is not None:
        return to_bytes(values, window.scaled, inverted=inverted)
    return to_bytes(values, by_range(*finite_range(values)), inverted=inverted)


def finite_range(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest value that is finite; 0 and 0 where there is none."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
