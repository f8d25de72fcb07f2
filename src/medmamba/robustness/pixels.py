"""What all corruptions share: the size at which pictures are corrupted, how lengths grow with it, and rounding."""

from __future__ import annotations

import numpy as np
from PIL import Image

REFERENCE = 224  # lengths in the table are in pixels of a picture whose short side has so many
WORKING = 256  # pictures with a longer short side are shrunk to it before they are corrupted


def scale(image: np.ndarray) -> float:
    """Pixels of this picture, (h, w) or (h, w, 3), for one of the table."""
    return min(image.shape[:2]) / REFERENCE


def optical_scale(image: np.ndarray) -> float:
    """The same for a blur, but the square root below 1.

    In proportion, pictures of 28 pixels would not be blurred at all. Levels that were chosen for pictures of 32 pixels
    (CIFAR-10-C) and of 224 (ImageNet-C; both Hendrycks and Dietterich 2019) differ by about so much.
    """
    return scale(image) if scale(image) > 1 else scale(image) ** 0.5


def rounded(values: np.ndarray) -> np.ndarray:
    """Real values to the nearest uint8, those beyond 0 and 255 cut off."""
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def working_size(image: np.ndarray, side: int) -> np.ndarray:
    """The picture itself, or shrunk so that its short side has `side` pixels, by Pillow's antialiased bilinear filter.

    Without it the noise of a large photograph would be averaged away on its way to a small model, a JPEG's blocks would
    be too small to be seen, and corrupting would cost more than the model.
    """
    height, width = image.shape[:2]
    if min(height, width) <= side:
        return image
    ratio = side / min(height, width)
    size = (max(side, round(width * ratio)), max(side, round(height * ratio)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def without_colour(image: np.ndarray) -> np.ndarray:
    """(h, w) of a picture that is stored as RGB and is grey in every pixel; any other as it is."""
    if (
        image.ndim == 3
        and np.array_equal(image[..., 0], image[..., 1])
        and np.array_equal(image[..., 0], image[..., 2])
    ):
        return np.ascontiguousarray(image[..., 0])
    return image
