"""Augmentations of whole batches, for images that live on the device they are trained on.

Each is the counterpart of one in `augment.py`, with the same operations and the same ranges, but it takes all its
random numbers as an argument and has no loop over images. A new one is a function and a row here; an augmentation
without a row runs image by image in the loader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class BatchAugmentation:
    """A random change of a batch.

    Attributes:
        numbers: Random numbers that an image needs.
        change: ((b, c, h, w) uint8, (b, numbers) float32 in [0, 1)) -> (b, c, h, w) uint8, both on one device.
    """

    numbers: int
    change: Callable[[Tensor, Tensor], Tensor]


def light(images: Tensor, numbers: Tensor) -> Tensor:
    """As `augment.light`: flip, turn, shift, size, brightness and contrast; numbers (b, 8)."""
    flip, turn, right, down, size, bright, contrast, order = numbers.unbind(1)
    height, width = images.shape[-2:]
    x = torch.where((flip < 0.5)[:, None, None, None], images.flip(-1), images).float()
    # whole pixels, as in torchvision
    shifts = torch.stack([((2 * right - 1) * 0.06 * width).round(), ((2 * down - 1) * 0.06 * height).round()], dim=1)
    x = affine(x, (2 * turn - 1) * 10, shifts, 0.9 + 0.2 * size)
    bright_first = (order < 0.5)[:, None, None, None]
    bright, contrast = ((0.8 + 0.4 * number)[:, None, None, None] for number in (bright, contrast))
    x = torch.where(bright_first, brightened(x, bright), contrasted(x, contrast))
    x = torch.where(bright_first, contrasted(x, contrast), brightened(x, bright))
    return x.to(torch.uint8)


def affine(images: Tensor, degrees: Tensor, shifts: Tensor, sizes: Tensor) -> Tensor:
    """Turn each image about its centre, resize and shift it; bilinear, what comes from outside is 0.

    Args:
        images: (b, c, h, w) float32, whole numbers in [0, 255].
        degrees: Clockwise, (b,).
        shifts: To the right and down, in pixels, (b, 2).
        sizes: Factors, (b,).

    Returns:
        Like `images`, rounded. As torchvision's `affine` with fill 0, which also fades the outermost pixel.
    """
    height, width = images.shape[-2:]
    turn = torch.deg2rad(degrees)
    cosine, sine = torch.cos(turn) / sizes, torch.sin(turn) / sizes
    x = torch.arange(width, device=images.device) - (width - 1) / 2 - shifts[:, :1]  # (b, w)
    y = torch.arange(height, device=images.device) - (height - 1) / 2 - shifts[:, 1:]
    x, y, cosine, sine = x[:, None, :], y[:, :, None], cosine[:, None, None], sine[:, None, None]
    # where each pixel comes from; no matrix product, which some GPUs would round to ten bits
    grid = torch.stack([(cosine * x + sine * y) * (2 / width), (cosine * y - sine * x) * (2 / height)], dim=-1)
    sampled = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    inside = F.grid_sample(torch.ones_like(images[:, :1]), grid, mode="bilinear", align_corners=False)
    return (sampled * inside).round_()


def brightened(images: Tensor, factors: Tensor) -> Tensor:
    """Times a factor (b, 1, 1, 1), cut to [0, 255] and down to whole numbers; (b, c, h, w) float32."""
    return (images * factors).clamp_(0, 255).floor_()


def contrasted(images: Tensor, factors: Tensor) -> Tensor:
    """Away from the mean grey of each image by a factor (b, 1, 1, 1), cut and floored; (b, c, h, w) float32."""
    grey = images
    if images.shape[1] == 3:
        red, green, blue = images.unbind(1)
        grey = (0.2989 * red + 0.587 * green + 0.114 * blue).floor_()[:, None]
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    return (mean + factors * (images - mean)).clamp_(0, 255).floor_()


BATCH_AUGMENTATIONS: Mapping[str, BatchAugmentation] = {
    "none": BatchAugmentation(0, lambda images, numbers: images),
    "light": BatchAugmentation(8, light),
}
