"""Whether images have colours, by their pixels: many grey images are stored as RGB."""

from __future__ import annotations

import numpy as np

from medmamba.data.dataset import Pictures
from medmamba.data.reading import DEFAULT
from medmamba.data.settings import Reading

SAMPLE = 64  # images looked at, evenly spread over the split
# Mean over the pixels of the largest difference between the three channels, in grey levels of 255. A coloured marker in
# a corner stays below it, and so does the noise of JPEG; stained cells and fundus photographs are far above it.
LEAST = 4.0


def are_grey(images: Pictures, reading: Reading = DEFAULT) -> bool:
    """Whether most images of a split are grey, judged by up to `SAMPLE` of them.

    Raises:
        InputError: One of them cannot be read.
    """
    rows = np.unique(np.linspace(0, len(images) - 1, SAMPLE).round().astype(int))
    grey = [is_grey(images.read(int(row), reading, tell=False)) for row in rows]
    return 2 * sum(grey) > len(grey)


def is_grey(image: np.ndarray) -> bool:
    """Whether an image, (h, w) or (h, w, 3) uint8, has no colours worth the name."""
    if image.ndim == 2:
        return True
    spread = image.max(axis=2).astype(np.int16) - image.min(axis=2)
    return float(spread.mean()) < LEAST
