"""Lens and hand. Lengths are those of the table, for this picture; beyond its edge a picture repeats it."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from medmamba.robustness.pixels import optical_scale, rounded

ZOOMS = 11  # pictures of which a zoom is the mean


def gaussian_blur(image: np.ndarray, generator: np.random.Generator, sigma: float) -> np.ndarray:
    """Normal blur: each pixel of the kernel has its share of the curve, which holds for small `sigma` too."""
    sigma *= optical_scale(image)
    reach = math.ceil(4 * sigma)
    edges = [math.erf((edge - reach - 0.5) / (sigma * math.sqrt(2))) for edge in range(2 * reach + 2)]
    return _convolve(image, np.outer(np.diff(edges), np.diff(edges)))


def defocus_blur(image: np.ndarray, generator: np.random.Generator, radius: float) -> np.ndarray:
    """Every point becomes a disk, whose edge covers its pixels in part."""
    radius *= optical_scale(image)
    reach = math.ceil(radius)
    offsets = np.arange(-reach, reach + 1)
    return _convolve(image, np.clip(radius + 0.5 - np.hypot(offsets[:, None], offsets), 0, 1))


def motion_blur(image: np.ndarray, generator: np.random.Generator, radius: float, sigma: float) -> np.ndarray:
    """Every point becomes a streak up to 45 degrees off level: half a normal curve of `sigma`, 2 `radius` long.

    The streak's centre of mass stays where the point was, so that the picture is blurred and not shifted.
    """
    angle = math.radians(generator.uniform(-45, 45))
    radius, sigma = radius * optical_scale(image), sigma * optical_scale(image)
    way = np.linspace(0, 2 * radius, 1 + math.ceil(8 * radius))
    weights = np.exp(-((way / sigma) ** 2) / 2)
    way -= (way * weights).sum() / weights.sum()
    reach = math.ceil(np.abs(way).max()) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    rows, columns = reach + way * math.sin(angle), reach + way * math.cos(angle)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for down in (0, 1):  # each point of the streak is shared by the four pixels around it
        for right in (0, 1):
            share = np.abs(1 - down - (rows - top)) * np.abs(1 - right - (columns - left))
            np.add.at(kernel, (top + down, left + right), weights * share)
    return _convolve(image, kernel)


def zoom_blur(image: np.ndarray, generator: np.random.Generator, largest: float) -> np.ndarray:
    """The mean of the picture and of ever larger ones, up to `largest` times, about the centre."""
    picture = Image.fromarray(image)
    total = np.zeros(image.shape, np.float32)
    for zoom in np.linspace(1, largest, ZOOMS):
        across, down = picture.width / zoom, picture.height / zoom
        left, top = (picture.width - across) / 2, (picture.height - down) / 2
        box = (left, top, left + across, top + down)
        total += np.asarray(picture.resize(picture.size, Image.Resampling.BILINEAR, box=box))
    return rounded(total / ZOOMS)


def _convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve each channel with a kernel (2 r + 1, 2 r + 1), made to sum to 1, by its Fourier transform."""
    reach = len(kernel) // 2
    height, width = image.shape[:2]
    channels = image.reshape(height, width, -1).transpose(2, 0, 1).astype(np.float32)
    size = [-(-(side + 2 * reach) // 32) * 32 for side in (height, width)]  # sides that factorise well
    around = [(0, 0), *((reach, full - side - reach) for full, side in zip(size, (height, width), strict=True))]
    spectrum = np.fft.rfft2(np.pad(channels, around, mode="edge"))
    spectrum *= np.fft.rfft2(kernel.astype(np.float32) / np.float32(kernel.sum()), s=size)
    blurred = np.fft.irfft2(spectrum, s=size)[:, 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]
    return rounded(blurred).transpose(1, 2, 0).reshape(image.shape)
