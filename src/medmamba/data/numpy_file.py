"""NumPy files of one image each. The header is read before the data, and nothing is unpickled."""

from __future__ import annotations

import math
from typing import BinaryIO

import numpy as np

from medmamba.data.raster import check_pixels
from medmamba.data.settings import Frames, Reading
from medmamba.data.source import size_of
from medmamba.data.windows import scale
from medmamba.errors import InputError

MAGIC = b"\x93NUMPY"
_TYPES = "numbers of 8, 16 or 32 bits, or floats"


def open_array(file: BinaryIO, reading: Reading) -> Frames:
    """An array (h, w) or (h, w, 3): uint8 as it is, other numbers by the stated window or their own range.

    Raises:
        InputError: It is of another shape or type, too large or cut off. A damaged header raises what NumPy raises.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
    if len(shape) != 2 and shape[2:] != (3,):
        of_shape = " x ".join(map(str, shape)) or "one number"
        raise InputError(
            f"is an array of {of_shape}, which may be a volume, and volumes are not supported; "
            "give (height, width) or (height, width, 3), or save its slices as images"
        )
    if dtype.kind not in "uif" or (dtype.kind != "f" and dtype.itemsize > 4):
        raise InputError(f"is an array of {dtype}, which is no image; expected {_TYPES}")
    if min(shape) < 1:
        raise InputError("is an array without pixels; replace or remove it")
    check_pixels(shape[1], shape[0], reading.max_pixels)
    start, size = file.tell(), math.prod(shape) * dtype.itemsize
    if (there := size_of(file) - start) < size:
        raise InputError(f"is cut off: it holds {there} bytes of pixels, and its header asks for {size}; copy it again")

    def read(_: int) -> np.ndarray:
        file.seek(start)
        flat = np.frombuffer(file.read(size), dtype)
        values = flat.reshape(shape[::-1]).transpose() if by_columns else flat.reshape(shape)
        if dtype == np.uint8:
            return np.array(values, order="C")
        return scale(values, reading.stated_window)

    return Frames(1, f"NumPy {dtype}", read)
