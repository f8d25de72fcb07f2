"""Light and colour: each a table of 256 values for a channel, but for saturation."""

from __future__ import annotations

import numpy as np

from medmamba.robustness.pixels import rounded

VALUES = np.arange(256.0)
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow's grey
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of linear sRGB, IEC 61966-2-1
XYZ_TO_RGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
DAYLIGHT = 6500.0


def colour_temperature(image: np.ndarray, generator: np.random.Generator, kelvin: float) -> np.ndarray:
    """Light of a black body `kelvin` below or above 6500 K: gains of the channels in linear light, as bright as before.

    Args:
        image: RGB; a grey picture has no colour to shift.
        generator: Decides between warmer and colder.
        kelvin: Less than 4500, where the formula of the black body ends.
    """
    light = _black_body(DAYLIGHT + kelvin * generator.choice((-1.0, 1.0))) / _black_body(DAYLIGHT)
    gains = light / (light @ LUMINANCE)
    linear = np.where(VALUES <= 0.04045 * 255, VALUES / 255 / 12.92, ((VALUES / 255 + 0.055) / 1.055) ** 2.4)
    lit = np.clip(linear * gains[:, None], 0, 1)
    tables = rounded(255 * np.where(lit <= 0.0031308, lit * 12.92, 1.055 * lit ** (1 / 2.4) - 0.055))
    return np.stack([table[image[..., channel]] for channel, table in enumerate(tables)], axis=-1)


def _black_body(kelvin: float) -> np.ndarray:
    """Linear sRGB (3,) of the Planckian locus, 2222 to 25000 K (Kim et al. 2002, US patent 7024034), luminance 1."""
    t = 1000 / kelvin
    if kelvin < 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    return XYZ_TO_RGB @ np.array([x / y, 1, (1 - x - y) / y])


def brightness(image: np.ndarray, generator: np.random.Generator, factor: float) -> np.ndarray:
    """Every value times `factor`."""
    return rounded(VALUES * factor)[image]


def brightness_either_way(image: np.ndarray, generator: np.random.Generator, amount: float) -> np.ndarray:
    """Every value times 1 - `amount` or 1 + `amount`."""
    return brightness(image, generator, 1 + amount * generator.choice((-1.0, 1.0)))


def contrast(image: np.ndarray, generator: np.random.Generator, factor: float) -> np.ndarray:
    """Distances from the picture's mean grey times `factor`."""
    means = image.reshape(-1, *image.shape[2:]).mean(axis=0)
    mean = float(means @ LUMA) if image.ndim == 3 else float(means)
    return rounded(mean + factor * (VALUES - mean))[image]


def contrast_either_way(image: np.ndarray, generator: np.random.Generator, amount: float) -> np.ndarray:
    """Distances from the picture's mean grey times 1 - `amount` or 1 + `amount`."""
    return contrast(image, generator, 1 + amount * generator.choice((-1.0, 1.0)))


def gamma(image: np.ndarray, generator: np.random.Generator, exponent: float) -> np.ndarray:
    """Values in 0 to 1 to the power of `exponent`: darker above 1."""
    return rounded(255 * (VALUES / 255) ** exponent)[image]


def saturate(image: np.ndarray, generator: np.random.Generator, amount: float) -> np.ndarray:
    """Add `amount` to the saturation of hue, saturation, value; pixels without a hue stay as they are."""
    pixels = image.astype(np.float32)
    highest = pixels.max(axis=-1, keepdims=True)
    chroma = highest - pixels.min(axis=-1, keepdims=True)
    wanted = np.minimum(highest, chroma + np.float32(amount) * highest)
    stretch = np.divide(wanted, chroma, out=np.ones_like(chroma), where=chroma > 0)
    return rounded(highest - (highest - pixels) * stretch)
