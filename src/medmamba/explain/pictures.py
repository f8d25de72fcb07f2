"""A heat map laid over its picture, and both side by side with the answer in words."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from medmamba.errors import InputError, suggest
from medmamba.text import printable
from medmamba.writing import head

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

# `safe` is the default: its lightness rises evenly, so that it reads the same to colour-blind eyes and in grey. A
# rainbow has bright bands where the map has none.
COLOURS = {"safe": "viridis", "paper": "jet"}
STRENGTH = 0.5  # share of the colours in the overlay
GAP, MARGIN, LETTERS = 8, 8, 13  # pixels
MARK = ("Software", "medmamba explain")  # a keyword that PNG defines
NARROWEST = 360  # pixels; smaller pictures stand on a wider sheet, for the words


def check_colours(name: str) -> None:
    """Raise `InputError` unless there are colours of this name and matplotlib, whose they are."""
    if name not in COLOURS:
        raise InputError(f"there are no colours {name!r}{suggest(name, list(COLOURS))}; choose {' or '.join(COLOURS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as reason:
        raise InputError(f"heat maps need matplotlib: pip install 'medmamba[explain]' ({reason})") from None


def overlay(image: np.ndarray, heat: np.ndarray, colours: str) -> np.ndarray:
    """Colours of the map over the picture, uint8 (h, w, 3), half and half; the picture alone where the map is empty.

    Args:
        image: uint8, (h, w) or (h, w, 3).
        heat: (h, w) in [0, 1].
        colours: Name in `COLOURS`.
    """
    picture = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    if not heat.any():
        return picture
    painted = (_colormap(colours)(heat, bytes=True)[..., :3]).astype(np.float32)
    return np.rint((1 - STRENGTH) * picture + STRENGTH * painted).astype(np.uint8)


def layer(heat: np.ndarray, colours: str) -> np.ndarray:
    """The map alone, to be laid over its picture, uint8 (h, w, 4): clear where it is 0, opaque from a half on.

    Args:
        heat: (h, w) in [0, 1].
        colours: Name in `COLOURS`.
    """
    painted = _colormap(colours)(heat, bytes=True)
    painted[..., 3] = np.rint(255 * np.minimum(1, 2 * heat))
    return painted


def side_by_side(image: np.ndarray, laid_over: np.ndarray, words: str, colours: str) -> Image.Image:
    """The picture, its overlay and a bar of the colours, at their own size, under the answer in words."""
    height, width = image.shape[:2]
    bar = 12
    sheet_width = max(2 * width + bar + 2 * GAP + 2 * MARGIN, NARROWEST)
    font, lines = _font(), _wrapped(words, sheet_width - 2 * MARGIN)
    top = MARGIN + len(lines) * (LETTERS + 5) + 4
    label = LETTERS + 6
    sheet = Image.new("RGB", (sheet_width, top + max(height, 2 * label) + label + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + row * (LETTERS + 5)), line, fill="black", font=font)
    sheet.paste(Image.fromarray(image).convert("RGB"), (MARGIN, top))
    sheet.paste(Image.fromarray(laid_over), (MARGIN + width + GAP, top))
    left = MARGIN + 2 * (width + GAP)
    ramp = np.repeat(np.linspace(1, 0, height)[:, None], bar, axis=1)
    sheet.paste(Image.fromarray(_colormap(colours)(ramp, bytes=True)[..., :3]), (left, top))
    draw.text((left + bar, top + height + 3), "top: most evidence (1)", fill="#444444", font=font, anchor="ra")
    return sheet


def png(picture: Image.Image | np.ndarray) -> bytes:
    """As a PNG file that says who wrote it, which `is_own` reads."""
    buffer, about = io.BytesIO(), PngInfo()
    about.add_text(*MARK)
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


def is_own(path: Path) -> bool:
    """Whether a file is a picture that `png` made, by what it says before its pixels, which stay unread."""
    start = head(path, 512)
    return start.startswith(b"\x89PNG") and b"tEXt" + "\0".join(MARK).encode() in start


def _colormap(colours: str) -> Colormap:
    import matplotlib

    return matplotlib.colormaps[COLOURS[colours]]


def _font() -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), LETTERS)


def _wrapped(words: str, width: int) -> list[str]:
    letters = max(10, int(width / (0.58 * LETTERS)))
    return [part for line in printable(words).splitlines() for part in textwrap.wrap(line, letters)]
