"""What storing does to a picture."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def pixelate(image: np.ndarray, generator: np.random.Generator, share: float) -> np.ndarray:
    """Shrink to `share` of the sides and enlarge again, both by boxes."""
    picture = Image.fromarray(image)
    size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
    return np.asarray(picture.resize(size, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BOX))


def jpeg(image: np.ndarray, generator: np.random.Generator, quality: float) -> np.ndarray:
    """Store as JPEG of `quality`, 1 to 95, and read again."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer))
