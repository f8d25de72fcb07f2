"""The corruptions: a row each, with its five levels and where they come from."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medmamba.errors import InputError, suggest
from medmamba.robustness import blur, colour, digital, geometry, noise, objects

SEVERITIES = (1, 2, 3, 4, 5)
PAPER, MEDMNIST_C = "paper", "medmnist-c"
SETS = (PAPER, MEDMNIST_C, "all")
OURS = "ours; the paper (section 5.3, figure 7) gives no levels"


@dataclass(frozen=True)
class Corruption:
    """A row of `CORRUPTIONS`.

    Attributes:
        name: What options and results call it.
        family: Kind of damage.
        change: Does it: (image, generator, *level) -> image, uint8, (h, w) or (h, w, 3).
        level: What the numbers of a level are; lengths are in pixels of a picture whose short side has 224.
        levels: Of the severities 1 to 5: numbers, or several each.
        source: Where the levels come from.
        member_of: `paper`, the kinds of the paper's figure 7, or `medmnist-c`, those of MedMNIST-C.
        needs_colour: Whether it says nothing about a grey picture.
    """

    name: str
    family: str
    change: Callable[..., np.ndarray]
    level: str
    levels: tuple[float | tuple[float, ...], ...]
    source: str = OURS
    member_of: str = PAPER
    needs_colour: bool = False

    def __call__(self, image: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
        """Corrupt a picture.

        Args:
            image: uint8, (h, w) or (h, w, 3); three channels where the row needs colour. It stays as it is.
            severity: 0, which changes nothing, to 5.
            generator: Decides what is random: directions, places, grain.

        Returns:
            uint8, of the same shape.

        Raises:
            InputError: There is no such severity, or the picture is of another kind.
        """
        if severity not in (0, *SEVERITIES):
            raise InputError(f"severity {severity!r} is none; give 0, which changes nothing, to 5")
        channels = ((3,),) if self.needs_colour else ((), (3,))
        if image.dtype != np.uint8 or image.ndim < 2 or image.shape[2:] not in channels or 0 in image.shape:
            kinds = "(h, w, 3)" if self.needs_colour else "(h, w) or (h, w, 3)"
            raise InputError(f"{self.name} takes uint8 {kinds}, not {image.dtype} {image.shape}")
        if severity == 0:
            return image.copy()
        level = self.levels[severity - 1]
        return self.change(image, generator, *(level if isinstance(level, tuple) else (level,)))

    def generator(self, seed: int, index: int) -> np.random.Generator:
        """What is random about one image, whatever batch, order or process it is in.

        All severities of an image share its draws: it is turned the same way and has the same grain, only more of it.
        So a curve over severities shows strength and not luck.
        """
        return np.random.default_rng((seed, zlib.crc32(self.name.encode()), index))


def _medmnist_c(
    name: str,
    family: str,
    change: Callable[..., np.ndarray],
    level: str,
    levels: tuple[float | tuple[float, ...], ...],
    where: str,
    *,
    needs_colour: bool = False,
) -> Corruption:
    source = f"MedMNIST-C (arXiv 2406.17536), {where}"
    return Corruption(name, family, change, level, levels, source, MEDMNIST_C, needs_colour)


_ROWS = (
    Corruption("rotation", "geometry", geometry.rotation, "degrees, either way", (5, 10, 20, 30, 45)),
    Corruption(
        "translation", "geometry", geometry.translation, "share of the sides, any way", (0.02, 0.05, 0.1, 0.15, 0.2)
    ),
    Corruption(
        "colour_temperature",
        "colour",
        colour.colour_temperature,
        "kelvin from 6500, either way",
        (500, 1000, 1500, 2000, 3000),
        needs_colour=True,
    ),
    Corruption(
        "brightness", "colour", colour.brightness_either_way, "factor 1 - or 1 + this", (0.1, 0.2, 0.3, 0.4, 0.5)
    ),
    Corruption("contrast", "colour", colour.contrast_either_way, "factor 1 - or 1 + this", (0.1, 0.2, 0.3, 0.4, 0.5)),
    Corruption("blur", "blur", blur.gaussian_blur, "standard deviation, pixels", (0.5, 1, 1.5, 2, 3)),
    Corruption("noise", "noise", noise.gaussian_noise, "standard deviation, of 1", (0.02, 0.04, 0.06, 0.08, 0.12)),
    _medmnist_c("pixelate", "digital", digital.pixelate, "share of the sides kept", (0.8, 0.6, 0.4, 0.3, 0.25), "Path"),
    _medmnist_c("jpeg", "digital", digital.jpeg, "quality", (50, 30, 15, 10, 7), "Path, Blood, Breast, Chest, Organ"),
    _medmnist_c(
        "gaussian_noise",
        "noise",
        noise.gaussian_noise,
        "standard deviation, of 1",
        (0.04, 0.08, 0.12, 0.18, 0.26),
        "Derma, Chest",
    ),
    _medmnist_c(
        "speckle_noise",
        "noise",
        noise.speckle_noise,
        "standard deviation, of the value",
        (0.05, 0.15, 0.2, 0.35, 0.45),
        "Derma, Chest",
    ),
    _medmnist_c(
        "impulse_noise", "noise", noise.impulse_noise, "share of values", (0.01, 0.03, 0.06, 0.09, 0.17), "Derma, Chest"
    ),
    _medmnist_c("shot_noise", "noise", noise.shot_noise, "photons of white", (60, 25, 18, 10, 5), "Derma, Chest"),
    _medmnist_c(
        "defocus_blur", "blur", blur.defocus_blur, "radius, pixels", (2, 3, 4, 5, 6), "Blood, without its second number"
    ),
    _medmnist_c(
        "motion_blur",
        "blur",
        blur.motion_blur,
        "radius and standard deviation, pixels",
        ((5, 5), (9, 7), (9, 10), (13, 10), (17, 12)),
        "Breast",
    ),
    _medmnist_c(
        "zoom_blur",
        "blur",
        blur.zoom_blur,
        "largest enlargement",
        (1.10, 1.15, 1.20, 1.25, 1.30),
        "Derma, its steps ours",
    ),
    _medmnist_c(
        "gaussian_blur",
        "blur",
        blur.gaussian_blur,
        "standard deviation, pixels",
        (0.8, 1.1, 1.4, 1.7, 2.0),
        "Chest, the first five of six, kernel sizes 3 to 11 as torchvision's standard deviations",
    ),
    _medmnist_c(
        "brightness_up", "colour", colour.brightness, "factor", (1.1, 1.2, 1.3, 1.4, 1.5), "Derma, Chest, Pneumonia"
    ),
    _medmnist_c(
        "brightness_down", "colour", colour.brightness, "factor", (0.9, 0.8, 0.7, 0.6, 0.5), "Derma, Chest, Pneumonia"
    ),
    _medmnist_c(
        "contrast_up", "colour", colour.contrast, "factor", (1.1, 1.2, 1.3, 1.4, 1.6), "Derma, Chest, Pneumonia"
    ),
    _medmnist_c(
        "contrast_down", "colour", colour.contrast, "factor", (0.9, 0.8, 0.7, 0.6, 0.4), "Retina, Breast, Chest"
    ),
    _medmnist_c(
        "saturate",
        "colour",
        colour.saturate,
        "added saturation, of 1",
        (0.05, 0.10, 0.15, 0.20, 0.25),
        "Path",
        needs_colour=True,
    ),
    _medmnist_c(
        "stain_deposit", "task-specific", objects.stain_deposit, "blots", (1, 2, 3, 4, 5), "Path, its shapes ours"
    ),
    _medmnist_c(
        "bubble",
        "task-specific",
        objects.bubble,
        "largest radius, pixels, and number",
        ((7, 15), (10, 15), (12, 15), (15, 20), (17, 25)),
        "Path",
    ),
    _medmnist_c(
        "black_corner",
        "task-specific",
        objects.black_corner,
        "radius, of half the sides",
        (1.10, 1.05, 1.00, 0.95, 0.90),
        "Derma, whose last two stand the other way round",
    ),
    _medmnist_c(
        "characters",
        "task-specific",
        objects.characters,
        "words and letters of each",
        ((1, 6), (2, 7), (3, 8), (4, 9), (6, 10)),
        "Derma, the size of letters ours",
    ),
    _medmnist_c("gamma_up", "task-specific", colour.gamma, "exponent", (1.1, 1.2, 1.3, 1.4, 1.6), "Chest, Pneumonia"),
    _medmnist_c("gamma_down", "task-specific", colour.gamma, "exponent", (0.9, 0.8, 0.7, 0.6, 0.4), "Chest, Pneumonia"),
)
CORRUPTIONS = {row.name: row for row in _ROWS}


def chosen(names: Sequence[str]) -> list[Corruption]:
    """Rows of the names, each once, in the table's order; `paper`, `medmnist-c` and `all` stand for several.

    Raises:
        InputError: A name is unknown, or there is none.
    """
    for name in names:
        if name not in CORRUPTIONS and name not in SETS:
            known = (*SETS, *CORRUPTIONS)
            raise InputError(f"there is no corruption {name!r}{suggest(name, known)}; choose of {', '.join(known)}")
    if not names:
        raise InputError(f"no corruption was named; choose of {', '.join((*SETS, *CORRUPTIONS))}")
    wanted = {"all", *names} if "all" in names else set(names)
    return [row for row in _ROWS if "all" in wanted or wanted & {row.name, row.member_of}]
