"""PNG, JPEG, TIFF, BMP, WebP and GIF, decoded by Pillow. What kind a file is, its content tells and not its name.

| Pillow's mode | becomes |
| --- | --- |
| 1 | grey, 0 and 255 |
| L | grey, as it is |
| LA, La | grey, laid on black |
| P, PA, RGB, RGBX, CMYK, YCbCr, LAB, HSV | RGB by Pillow's conversion |
| RGBA, RGBa, P with transparency | RGB, laid on black |
| I;16 in either byte order, I, F | grey by the stated window, or from the least to the greatest value of the image |

8-bit images are never windowed, and colours of 16 bits are cut to their upper 8 by Pillow. A TIFF that is white where
it is zero is inverted, last. The EXIF orientation is applied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from medmamba.data.pages import gif_frames, tiff_pages
from medmamba.data.settings import Frames, Reading
from medmamba.data.source import size_of
from medmamba.data.windows import scale
from medmamba.errors import InputError, TooLargeError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WebP", "GIF")
MOST_SCANS = 16  # of a progressive JPEG of as many pixels as are allowed; each scan visits all of them
# bytes of pixels from one byte of a file: by DEFLATE, by LZW (4096 from a code of 12 bits), by runs of 255
_MOST_FROM_A_BYTE = {"PNG": 1032, "GIF": 2731, "BMP": 128}
_BITS = {"I;16": 16, "LA": 16, "RGB": 24, "RGBA": 32}  # a pixel of a PNG, at least; of others 1
_MOST_WEBP = 16383  # pixels of a side
_PHOTOMETRIC = 262  # TIFF tag
_WHITE_IS_ZERO = 0


class _Tiff(TiffImagePlugin.TiffImageFile):
    """Leaves the limit of pixels to us, who know of a raised one, and has no rows without a strip."""

    def load_prepare(self) -> None:
        reached = [max(ends) for ends in zip(*(tile.extents[2:] for tile in self.tile if tile.extents), strict=True)]
        if any(end < side for end, side in zip(reached, self._tile_size, strict=True)):  # Pillow leaves the rest black
            raise InputError("is a TIFF whose strips or tiles do not cover it; replace it")
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)
        super().load_prepare()


def opener(head: bytes) -> Callable[[BinaryIO], ImageFile.ImageFile] | None:
    """What opens a file that begins so, or None if it is of no format that is allowed.

    Not `PIL.Image.open`, whose limit of pixels is one for the whole process.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile
    if head.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile  # a camera's MPO is its first picture: the others are previews
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _Tiff
    if head.startswith((b"GIF87a", b"GIF89a")):
        return GifImagePlugin.GifImageFile
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    if head.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile
    return None


def open_raster(file: BinaryIO, head: bytes, reading: Reading) -> Frames:
    """The frames of an open file, of which the head is that of one of `FORMATS`.

    Raises:
        InputError: It has too many pixels. A damaged file raises what Pillow raises.
    """
    open_image = opener(head)
    assert open_image is not None
    image = open_image(file)
    check_pixels(image.width, image.height, reading.max_pixels)
    _check_promise(image, file, reading.max_pixels)

    def read(index: int) -> np.ndarray:
        if index:
            image.seek(index)
            check_pixels(image.width, image.height, reading.max_pixels)  # each page has a size of its own
        inverted = isinstance(image, _Tiff) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        return _pixels(ImageOps.exif_transpose(image), reading, inverted=inverted)

    return Frames(_frames(image, file), f"{image.format} {image.mode}", read)


def _frames(image: ImageFile.ImageFile, file: BinaryIO) -> int:
    place = file.tell()
    if isinstance(image, _Tiff):
        count = tiff_pages(file)
    elif isinstance(image, GifImagePlugin.GifImageFile):
        count = gif_frames(file)
    else:
        count = getattr(image, "n_frames", 1)  # as the header says
    file.seek(place)
    return count


def _check_promise(image: ImageFile.ImageFile, file: BinaryIO, most: int) -> None:
    """Refuse a header that its file cannot keep, where Pillow would fill up with black, or take minutes."""
    pixels, kind = image.width * image.height, str(image.format)
    if kind in _MOST_FROM_A_BYTE:
        size = size_of(file)
        bits = _BITS.get(image.mode, 1) if kind == "PNG" else 8
        if pixels * bits > 8 * _MOST_FROM_A_BYTE[kind] * size:
            raise InputError(
                f"states {image.width} x {image.height} pixels, which {size} bytes cannot hold; replace it"
            )
    elif kind == "WEBP" and max(image.size) > _MOST_WEBP:
        raise InputError(f"states {image.width} x {image.height} pixels, more than WebP can hold; replace it")
    elif "progressive" in image.info:
        place = file.tell()
        file.seek(0)
        scans = file.read().count(b"\xff\xda")
        file.seek(place)
        if scans * pixels > MOST_SCANS * most:
            raise InputError(f"is a JPEG of {pixels} pixels in {scans} scans, which are too many; save it again")


def check_pixels(width: int, height: int, most: int) -> None:
    """Raise `TooLargeError` if an image is larger than is allowed."""
    if width * height > most:
        raise TooLargeError(f"has {width} x {height} pixels, more than {most}; shrink it, or raise --max-pixels")


def _pixels(image: Image.Image, reading: Reading, *, inverted: bool) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return scale(np.asarray(image), reading.stated_window, inverted=inverted)  # Pillow inverts 8 bits alone
    if image.has_transparency_data:
        image = _on_black(image)
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    return np.array(image)


def _on_black(image: Image.Image) -> Image.Image:
    """Without transparency: each colour times alpha, rounded."""
    grey = image.mode in ("1", "L", "LA", "La")
    image = image.convert("LA" if grey else "RGBA")
    black = Image.new("L" if grey else "RGB", image.size)
    black.paste(image.convert(black.mode), mask=image.getchannel("A"))
    return black
