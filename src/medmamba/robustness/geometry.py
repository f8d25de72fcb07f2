"""A picture taken from another place: turned, or shifted. What comes into view repeats the nearest edge."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image


def rotation(image: np.ndarray, generator: np.random.Generator, degrees: float) -> np.ndarray:
    """Turn about the centre by `degrees`, one way or the other, bilinear."""
    angle = degrees * generator.choice((-1.0, 1.0))
    height, width = image.shape[:2]
    margin = math.ceil((math.hypot(height, width) - min(height, width)) / 2) + 1
    around = [(margin, margin)] * 2 + [(0, 0)] * (image.ndim - 2)
    padded = Image.fromarray(np.pad(image, around, mode="edge"))
    turned = np.asarray(padded.rotate(angle, Image.Resampling.BILINEAR))
    return turned[margin : margin + height, margin : margin + width]


def translation(image: np.ndarray, generator: np.random.Generator, share: float) -> np.ndarray:
    """Shift by `share` of height and width along a random direction, in whole pixels, so that nothing is blurred."""
    direction = generator.uniform(0, 2 * math.pi)
    height, width = image.shape[:2]
    rows = np.clip(np.arange(height) - round(share * height * math.sin(direction)), 0, height - 1)
    columns = np.clip(np.arange(width) - round(share * width * math.cos(direction)), 0, width - 1)
    return image[rows[:, None], columns]
