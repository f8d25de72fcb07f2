"""Augmentations of whole batches, for images that live on the device they are trained on.

Each has the operations and ranges of the one of its name in `augment.py`, but it takes all its random numbers as an
argument and has no loop over images. A new one is a function and a row here; an augmentation
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


def trivial_grey(images: Tensor, numbers: Tensor) -> Tensor:
    """TrivialAugment (Mueller & Hutter 2021) for grey images such as x-rays and ultrasound; numbers (b, 3).

    A left-right flip of every second image, then one of ten operations, each as likely, with a strength that is uniform
    over its range: none; shear along the rows or the columns to 0.3, turn to 30 degrees (both as in the space that the
    paper takes from RandAugment); shift along the rows or the columns to 20 % of the side; size 0.8 to 1.25 (depth and
    distance differ); brightness or contrast to 50 % (gain and exposure differ); sharpness 0.1 to 1.9 (focus differs).
    Unlike in the paper's wide space nothing turns a picture upside down, and nothing makes grey levels mean something
    else: no solarise, posterise, equalise, autocontrast and colour. What comes from outside the image is 0.
    """
    flip, which, strength = numbers.unbind(1)
    height, width = images.shape[-2:]
    x = torch.where((flip < 0.5)[:, None, None, None], images.flip(-1), images).float()
    which = (which * 10).floor()

    def chosen(operation: int) -> Tensor:  # strength from -1 to 1, 0 for images whose operation is another
        return torch.where(which == operation, 2 * strength - 1, 0)

    turn, size = torch.deg2rad(30 * chosen(3)), 1.25 ** chosen(6)
    cosine, sine = torch.cos(turn) / size, torch.sin(turn) / size
    matrix = torch.stack([cosine, sine + 0.3 * chosen(1), 0.3 * chosen(2) - sine, cosine], dim=1)
    shifts = torch.stack([(0.2 * width * chosen(4)).round(), (0.2 * height * chosen(5)).round()], dim=1)
    x = torch.where(((which >= 1) & (which <= 6))[:, None, None, None], warped(x, matrix, shifts), x)
    for operation, change, span in ((7, brightened, 0.5), (8, contrasted, 0.5), (9, sharpened, 0.9)):
        factors = (1 + span * chosen(operation))[:, None, None, None]
        x = torch.where((which == operation)[:, None, None, None], change(x, factors), x)
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
    turn = torch.deg2rad(degrees)
    cosine, sine = torch.cos(turn) / sizes, torch.sin(turn) / sizes
    return warped(images, torch.stack([cosine, sine, -sine, cosine], dim=1), shifts)


def warped(images: Tensor, matrix: Tensor, shifts: Tensor) -> Tensor:
    """Shift each image, and take each pixel from where a matrix sends its place, both seen from the centre.

    Args:
        images: (b, c, h, w) float32, whole numbers in [0, 255].
        matrix: Its rows, (b, 4): from (x, y) to x, then to y, of where a pixel comes from.
        shifts: To the right and down, in pixels, (b, 2).

    Returns:
        As `affine`.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2 - shifts[:, :1]  # (b, w)
    y = torch.arange(height, device=images.device) - (height - 1) / 2 - shifts[:, 1:]
    x, y = x[:, None, :], y[:, :, None]
    xx, xy, yx, yy = matrix[:, :, None, None].unbind(1)
    # where each pixel comes from; no matrix product, which some GPUs would round to ten bits
    grid = torch.stack([(xx * x + xy * y) * (2 / width), (yx * x + yy * y) * (2 / height)], dim=-1)
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


def sharpened(images: Tensor, factors: Tensor) -> Tensor:
    """Away from the smoothed image by a factor (b, 1, 1, 1), cut and floored; (b, c, h, w) float32.

    Smoothed by 3 x 3 pixels of which the middle counts five times, as in Pillow and torchvision; the outermost stay.
    """
    smooth, inner = images.clone(), images[..., 1:-1, 1:-1]
    smooth[..., 1:-1, 1:-1] = ((9 * F.avg_pool2d(images, 3, stride=1) + 4 * inner) / 13).round_()
    return (smooth + factors * (images - smooth)).clamp_(0, 255).floor_()


BATCH_AUGMENTATIONS: Mapping[str, BatchAugmentation] = {
    "none": BatchAugmentation(0, lambda images, numbers: images),
    "light": BatchAugmentation(8, light),
    "trivial-grey": BatchAugmentation(3, trivial_grey),
}
