"""Things in a picture that belong to how it was made: stains, bubbles, a dark rim, burnt-in letters.

What is drawn depends on the level by number and size alone, so that a higher level adds to a lower one. Lengths are
those of the table and grow with the picture.
"""

from __future__ import annotations

import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medmamba.robustness.pixels import rounded, scale

LETTERS = tuple(string.ascii_lowercase)
LONGEST_WORD = 12
LETTER_HEIGHT = 12.0  # with what hangs below the line
BLOT_RADII = (7.0, 16.0)
BLOT_OPACITY = 0.9
BUBBLE_LEAST = 3.0
BUBBLE_RIM = 2.0
BUBBLE_OPACITY, RIM_OPACITY = 0.4, 0.5


def stain_deposit(image: np.ndarray, generator: np.random.Generator, blots: float) -> np.ndarray:
    """Dark blots of uneven outline."""
    canvas = image.astype(np.float32)
    for _ in range(int(blots)):
        draws, waves = generator.random(3), generator.uniform(-0.12, 0.12, size=(2, 3))
        radius = scale(image) * (BLOT_RADII[0] + draws[2] * (BLOT_RADII[1] - BLOT_RADII[0]))
        rows, columns, distance, angle = _around(image, draws[0], draws[1], 1.7 * radius + 1)
        around = np.arange(2, 5) * angle[..., None]
        outline = radius * (1 + np.cos(around) @ waves[0] + np.sin(around) @ waves[1])
        _paint(canvas, rows, columns, BLOT_OPACITY * np.clip(outline + 0.5 - distance, 0, 1), 0.0)
    return rounded(canvas)


def bubble(image: np.ndarray, generator: np.random.Generator, largest: float, bubbles: float) -> np.ndarray:
    """Pale disks with a brighter rim, of radii up to `largest`."""
    canvas = image.astype(np.float32)
    for _ in range(int(bubbles)):
        down, across, size = generator.random(3)
        radius = scale(image) * (BUBBLE_LEAST + size * (largest - BUBBLE_LEAST))
        rim = scale(image) * BUBBLE_RIM
        rows, columns, distance, _ = _around(image, down, across, radius + rim + 1)
        inside, whole = (np.clip(edge + 0.5 - distance, 0, 1) for edge in (radius, radius + rim))
        _paint(canvas, rows, columns, RIM_OPACITY * (whole - inside) + BUBBLE_OPACITY * inside, 255.0)
    return rounded(canvas)


def black_corner(image: np.ndarray, generator: np.random.Generator, radius: float) -> np.ndarray:
    """Black outside the ellipse in the picture's frame, times `radius`."""
    height, width = image.shape[:2]
    down, across = ((np.arange(side) + 0.5) / side * 2 - 1 for side in (height, width))
    dark = np.hypot(down[:, None], across) > radius
    return np.where(dark if image.ndim == 2 else dark[..., None], np.uint8(0), image)


def characters(image: np.ndarray, generator: np.random.Generator, words: float, letters: float) -> np.ndarray:
    """Words of random letters in random colours, as machines write into pictures; in greys on a grey picture."""
    canvas = image.astype(np.float32)
    height, width = image.shape[:2]
    for _ in range(int(words)):
        word = "".join(generator.choice(LETTERS, LONGEST_WORD)[: int(letters)])
        place, colour = generator.random(2), generator.uniform(0, 255, 3).astype(np.float32)
        mask = _written(word, LETTER_HEIGHT * scale(image))[:height, :width]
        top, left = (round(u * (side - size)) for u, side, size in zip(place, (height, width), mask.shape, strict=True))
        rows, columns = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
        _paint(canvas, rows, columns, mask, colour if image.ndim == 3 else colour[0])
    return rounded(canvas)


def _written(word: str, height: float) -> np.ndarray:
    """A word in Pillow's own bitmap letters, enlarged or shrunk: opacity (h, w), 0 to 1."""
    font = ImageFont.load_default_imagefont()
    _, _, right, bottom = font.getbbox(word)
    mask = Image.new("L", (int(right), int(bottom)))
    ImageDraw.Draw(mask).text((0, 0), word, fill=255, font=font)
    size = (max(1, round(right * height / bottom)), max(1, round(height)))
    return np.asarray(mask.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255


def _around(image: np.ndarray, down: float, across: float, reach: float) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """Rows, columns, distance and angle of the pixels within `reach` of a point at shares of height and width."""
    middles = (down * image.shape[0], across * image.shape[1])
    spans = [
        slice(max(0, int(middle - reach)), min(side, int(middle + reach) + 1))
        for middle, side in zip(middles, image.shape, strict=False)
    ]
    y, x = (
        np.arange(span.start, span.stop, dtype=np.float32) + 0.5 - middle
        for span, middle in zip(spans, middles, strict=True)
    )
    return spans[0], spans[1], np.hypot(y[:, None], x), np.arctan2(y[:, None], x)


def _paint(canvas: np.ndarray, rows: slice, columns: slice, opacity: np.ndarray, colour: float | np.ndarray) -> None:
    """Cover a part of the canvas, (h, w) or (h, w, 3), in place."""
    part = canvas[rows, columns]
    part += (colour - part) * (opacity if canvas.ndim == 2 else opacity[..., None]).astype(np.float32)
