"""From a file to pixels: the one place that reads images, for training and for everything after it.

| content | read by |
| --- | --- |
| PNG, JPEG, TIFF, BMP, WebP, GIF | `raster.py`, with the rules for each kind of pixel |
| DICOM | `dicom/`; for grey values `dicom/grey.py` |
| a NumPy array (h, w) or (h, w, 3) | `numpy_file.py` |

What a file is, its content tells. The settings are those of `Reading`, which is stored with a model.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medmamba.data.dicom import is_dicom, open_dicom
from medmamba.data.numpy_file import MAGIC, open_array
from medmamba.data.quiet import quiet
from medmamba.data.raster import FORMATS, open_raster, opener
from medmamba.data.settings import Frames, Reading
from medmamba.data.source import ImageBytes, open_source, size_of
from medmamba.errors import InputError

logger = logging.getLogger(__name__)

DEFAULT = Reading()
_EXPECTED = f"expected {', '.join(FORMATS)}, DICOM or .npy content"
_HEAD = 352  # bytes that tell what a file is
_MOST_WORDS = 120  # letters of what a decoder says
MOST_BYTES = 2 << 30  # of a file of which a decoder may want all at once; DICOM is read frame by frame


def read_image(
    path: str | os.PathLike[str] | ImageBytes, reading: Reading = DEFAULT, *, tell: bool = True
) -> np.ndarray:
    """Read one image, whatever its name says: the format is told by the content.

    Args:
        path: A PNG, JPEG, TIFF, BMP, WebP, GIF, DICOM or .npy file, or the bytes of one.
        reading: Window, frame and limit of pixels.
        tell: Whether the log names the frame that was taken of several, and a DICOM image that is all one value; not
            for files that were read before.

    Returns:
        uint8, (h, w) if grey or (h, w, 3) if RGB. The rules are in the modules that the table above names.

    Raises:
        InputError: The file is missing, damaged, too large (`TooLargeError`) or of another kind, a frame that it lacks
            was asked for, or all of several; the message names it.
    """
    if reading.frame == "all":
        raise InputError(
            f"all frames of {path} were asked for, and one image is read here; choose first, middle or one"
        )
    with closing(read_frames(path, reading, tell=tell)) as frames:
        return next(frames)


def read_frames(
    path: str | os.PathLike[str] | ImageBytes, reading: Reading = DEFAULT, *, tell: bool = True
) -> Generator[np.ndarray, None, None]:
    """Read the frames of one file that are asked for, one after the other; see `read_image`.

    Raises:
        InputError: As `read_image`; a frame may be damaged after others were read.
    """
    path = path if isinstance(path, ImageBytes) else Path(path)
    with _named(path), open_source(path) as file:
        head = file.read(_HEAD)
        file.seek(0)
        with quiet():
            frames = _open(path, file, head, reading)
        indices = reading.indices(frames.count)
        if tell and frames.count > 1:
            used = "all are used" if len(indices) == frames.count else f"frame {indices[0] + 1} is used"
            logger.warning("%s has %d frames or pages: %s", path, frames.count, used)
        for index in indices:
            with quiet():
                image = frames.read(index)
            if tell and is_dicom(head) and image.min() == image.max():
                logger.warning("%s, frame %d: every pixel has the same value", path, index + 1)
            yield image


def kind_of(path: str | os.PathLike[str], reading: Reading = DEFAULT) -> str:
    """Format, colours and bits of a file by its header, as `PNG L` or `DICOM MONOCHROME2 12 bit`.

    Raises:
        InputError: As `read_image`.
    """
    path = Path(path)
    with _named(path), open_source(path) as file, quiet():
        head = file.read(_HEAD)
        file.seek(0)
        frames = _open(path, file, head, reading)
    return frames.kind if frames.count == 1 else f"{frames.kind} of several frames"


@contextmanager
def _named(path: Path | ImageBytes) -> Iterator[None]:
    """Turn whatever a damaged file makes decoders raise into one sentence that names it."""
    try:
        yield
    except InputError as reason:
        raise type(reason)(f"{path} {reason}") from None
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except Exception as reason:
        words = " ".join(str(reason).split())[:_MOST_WORDS] or type(reason).__name__
        raise InputError(f"{path} cannot be read as an image ({words}); replace or remove it") from reason


def _open(path: Path | ImageBytes, file: BinaryIO, head: bytes, reading: Reading) -> Frames:
    name = path.name.lower()
    if not head:
        raise InputError("is empty (0 bytes); replace or remove it")
    if head.startswith(MAGIC):
        return open_array(file, reading)
    if head[344:347] in (b"n+1", b"ni1") or name.endswith((".nii", ".nii.gz")):
        raise InputError("is a NIfTI volume, and volumes are not supported; save its slices as PNG images")
    if is_dicom(head):
        return open_dicom(file, reading)
    if opener(head) is not None:
        if (size := size_of(file)) > MOST_BYTES:
            raise InputError(f"is a file of {size} bytes, more than {MOST_BYTES}; save the image that is meant alone")
        return open_raster(file, head, reading)
    if name.endswith((".dcm", ".dicom")):
        raise InputError(f"does not begin as a DICOM file does; {_EXPECTED}")
    raise InputError(f"is not an image: {_EXPECTED}")
