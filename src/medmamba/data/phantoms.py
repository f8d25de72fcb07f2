"""Synthetic grey images in the manner of breast ultrasound, so that everything runs without anyone's data.

Nothing here is anatomy. A hypoechoic lesion lies in layered, speckled tissue. Two hidden quantities tell the classes
apart, each only in part: how irregular the lesion's margin is, and how uneven its inside. Size, place, depth, tilt,
darkness, shadows and the machine's settings are drawn without regard to the class.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from medmamba.data.dataset import Dataset, ImageSet
from medmamba.errors import InputError
from medmamba.tasks import Task

CLASSES = ("benign", "malignant")
TOTAL = 840
SIZE = 64
SEPARATION = 1.4  # distance of each hidden quantity's class mean from 0, in standard deviations


def phantom(index: int, seed: int = 0, size: int = SIZE) -> tuple[np.ndarray, int, np.ndarray]:
    """One image, the same for the same arguments.

    Args:
        index: Which one, from 0; odd ones are malignant.
        seed: Another seed is another set of images.
        size: Height and width in pixels, from 16.

    Returns:
        The image, uint8 (size, size); its class, 0 benign or 1 malignant; the lesion, bool (size, size).
    """
    rng = np.random.default_rng((seed, index))
    label = index % 2
    margin, unevenness = rng.normal(SEPARATION * (2 * label - 1), 1.0, size=2)
    x = (np.arange(size)[None] + 0.5) / size
    depth = x.T
    centre = (rng.uniform(0.3, 0.7), rng.uniform(0.34, 0.62))
    radius = rng.uniform(0.15, 0.25)
    distance = _lesion_distance(x, depth, centre, radius, margin, rng)
    softness = 0.03 + 0.10 * _squash(margin + rng.normal(0, 0.5))
    inside = _step(-distance / softness)
    lesion = rng.uniform(-20, -14) + _inner_texture(size, unevenness, rng)
    echo = _tissue(x, depth, rng) * (1 - inside) + lesion * inside
    echo += _below(x, depth, centre, radius, rng) - rng.uniform(2, 10) * depth + _speckle(size, rng)
    gain, dynamic_range = rng.uniform(-4, 4), rng.uniform(42, 54)
    image = np.clip(255 * (0.66 + (echo + gain) / dynamic_range), 0, 255)
    return np.rint(image).astype(np.uint8), label, distance < 0


def make_phantoms(
    n: int, size: int = SIZE, seed: int = 0, *, start: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images `start` to `start + n`: uint8 (n, size, size), classes (n,) int64 and lesions, bool (n, size, size)."""
    images = np.empty((n, size, size), np.uint8)
    labels = np.empty(n, np.int64)
    masks = np.empty((n, size, size), bool)
    for row in range(n):
        images[row], labels[row], masks[row] = phantom(start + row, seed, size)
    return images, labels, masks


def lesion(name: str, size: int = SIZE) -> np.ndarray:
    """The lesion of a phantom, bool (size, size), by the name that it has in an `ImageSet` (`seed0/17`)."""
    seed, _, index = name.removeprefix("seed").partition("/")
    return phantom(int(index), int(seed), size)[2]


def open_phantoms(spec: str, *, seed: int = 0) -> Dataset:
    """`phantoms` is 480 images to train, 120 for validation and 240 to test; `phantoms:N` is N in the same shares.

    Raises:
        InputError: N is no number, or too small for two images a split.
    """
    _, _, count = spec.partition(":")
    total = TOTAL if spec == "phantoms" else int(count) if count.isdecimal() else 0
    if total < 14:
        raise InputError(f"{spec!r} names no phantoms; write phantoms:N with N from 14, as in phantoms:{TOTAL}")
    train, val = round(total * 4 / 7), round(total / 7)
    bounds = {"train": (0, train), "val": (train, train + val), "test": (train + val, total)}
    splits = {name: partial(_open_split, start, stop, seed) for name, (start, stop) in bounds.items()}
    return Dataset("phantoms", Task.BINARY, CLASSES, splits, positive=1, size=(SIZE, SIZE))


def _open_split(start: int, stop: int, seed: int) -> ImageSet:
    images, labels, _ = make_phantoms(stop - start, seed=seed, start=start)
    names = tuple(f"seed{seed}/{index}" for index in range(start, stop))  # what `phantom` makes them from
    return ImageSet(names=names, targets=labels, array=images)


def _squash(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _step(value: np.ndarray) -> np.ndarray:
    """A soft step from 0 to 1 about 0."""
    return 0.5 + 0.5 * np.tanh(value / 2)


def _waves(angle: np.ndarray, numbers: tuple[int, ...], strength: float, rng: np.random.Generator) -> np.ndarray:
    """A sum of cosines of the given wave numbers, with normal amplitudes and any phases."""
    k = np.array(numbers)[:, None]
    amplitude = rng.normal(0, strength, k.shape)
    phase = rng.uniform(0, 2 * math.pi, k.shape)
    return (amplitude * np.cos(k * angle + phase)).sum(axis=0)


def _lesion_distance(
    x: np.ndarray,
    depth: np.ndarray,
    centre: tuple[float, float],
    radius: float,
    margin: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Relative distance from the margin, (h, w), negative inside.

    The margin is an ellipse whose radius swings with the angle: slow lobes in every lesion, and fast ones (spicules)
    that grow with `margin`. Its area does not.
    """
    flatness, tilt = rng.uniform(0.6, 0.9), rng.normal(0, 0.3)
    right, down = x - centre[0], depth - centre[1]
    along = (right * math.cos(tilt) + down * math.sin(tilt)) / radius
    across = (down * math.cos(tilt) - right * math.sin(tilt)) / (radius * flatness)
    turn = np.linspace(-math.pi, math.pi, 257)
    spicules = 0.32 * _squash(1.6 * (margin - 0.3))
    outline = 1 + _waves(turn, (2, 3), 0.06, rng) + spicules * _waves(turn, (5, 7, 8, 11), 0.55, rng)
    outline = np.maximum(outline, 0.45)
    outline /= math.sqrt(np.mean(outline[:-1] ** 2))
    return np.hypot(along, across) / np.interp(np.arctan2(across, along), turn, outline) - 1


def _smooth_noise(size: int, rng: np.random.Generator, width: float, height: float) -> np.ndarray:
    """Complex normal noise (size, size) with Gaussian correlation; its two parts are independent, variance 1 each.

    Args:
        size: Height and width in pixels.
        rng: Where the noise comes from.
        width: Standard deviation of the blur, as a share of the image, from left to right.
        height: The same, from top to bottom.
    """
    frequency = np.fft.fftfreq(size) * size
    keep_x, keep_y = (np.exp(-2 * (math.pi * blur * frequency) ** 2) for blur in (width, height))
    keep_y *= size**2 / math.sqrt((keep_x**2).sum() * (keep_y**2).sum())
    white = rng.standard_normal((size, 2 * size)).view(np.complex128)
    return np.fft.ifft2(white * (keep_y[:, None] * keep_x))


def _speckle(size: int, rng: np.random.Generator) -> np.ndarray:
    """Speckle in decibel, (size, size): Rayleigh amplitude, the sum of many echoes of random phase, in two looks."""
    looks = (np.abs(_smooth_noise(size, rng, 0.016, 0.009)) for _ in range(2))
    return 20 * np.log10(sum(looks) / 2.5 + 0.02)


def _tissue(x: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Echo of skin, fat, gland and muscle, in decibel, (h, w): layers with wavy borders and cloudy insides."""
    borders = np.cumsum([rng.uniform(0.03, 0.06), rng.uniform(0.08, 0.22), rng.uniform(0.38, 0.52)])
    echo = np.full((x.size, x.size), rng.uniform(0, 4))
    for border, change in zip(borders, (-10.0, 7.0, -6.0), strict=True):
        wave = _waves(2 * math.pi * x, (1, 2, 3), 0.012, rng)
        echo += rng.normal(change, 1.5) * _step((depth - border - wave) / 0.012)
    return echo + 2.8 * _smooth_noise(x.size, rng, 0.11, 0.02).real


def _inner_texture(size: int, unevenness: float, rng: np.random.Generator) -> np.ndarray:
    """Echo differences inside the lesion, in decibel, (size, size): fine grains that grow with `unevenness`."""
    return 8.0 * _squash(1.6 * (unevenness - 0.3)) * _smooth_noise(size, rng, 0.025, 0.025).real


def _below(
    x: np.ndarray, depth: np.ndarray, centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> np.ndarray:
    """Shadow or enhancement in the column under the lesion, in decibel, (h, w); drawn without regard to the class."""
    strength = rng.choice([0.0, rng.uniform(-14, -6), rng.uniform(2, 6)], p=[0.4, 0.35, 0.25])
    column = np.exp(-(((x - centre[0]) / (0.75 * radius)) ** 4))
    return strength * column * _step((depth - centre[1] - 0.5 * radius) / 0.04)
