"""Grain of the sensor, each channel by itself. Standard deviations and shares are those of values in 0 to 1."""

from __future__ import annotations

import numpy as np

from medmamba.robustness.pixels import rounded


def gaussian_noise(image: np.ndarray, generator: np.random.Generator, sigma: float) -> np.ndarray:
    """Add normal noise."""
    grain = generator.standard_normal(image.shape, dtype=np.float32)
    return rounded(image + np.float32(255 * sigma) * grain)


def speckle_noise(image: np.ndarray, generator: np.random.Generator, sigma: float) -> np.ndarray:
    """Add normal noise in proportion to each value, as coherent waves do."""
    grain = generator.standard_normal(image.shape, dtype=np.float32)
    return rounded(image * (1 + np.float32(sigma) * grain))


def shot_noise(image: np.ndarray, generator: np.random.Generator, photons: float) -> np.ndarray:
    """Count `photons` for white and fewer for less (Poisson)."""
    counts = generator.poisson(np.arange(256.0)[image] * (photons / 255))
    return rounded(counts * np.float32(255 / photons))


def impulse_noise(image: np.ndarray, generator: np.random.Generator, share: float) -> np.ndarray:
    """A `share` of the values becomes 0 or 255."""
    draw = generator.random(image.shape, dtype=np.float32)
    changed = np.where(draw < share / 2, np.uint8(0), image)
    return np.where(draw > 1 - share / 2, np.uint8(255), changed)
