"""The only way pixels reach a model: stored in the bundle, and the same in training, evaluation and prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from medmamba.data.settings import Reading
from medmamba.errors import InputError, suggest

if TYPE_CHECKING:
    from torch import Tensor

    Pixels = TypeVar("Pixels", np.ndarray, Tensor)

FITS = ("squash", "letterbox")


@dataclass(frozen=True)
class Preprocessing:
    """Image of any size -> float32 (channels, height, width).

    Attributes:
        height: Rows that reach the model, from 1.
        width: Columns that reach the model, from 1.
        channels: 1 (grey) or 3 (RGB).
        fit: `squash` resizes to height x width, as in the paper; `letterbox` keeps the aspect ratio and fills the rest
            with 0, the image in the centre.
        mean: Subtracted from pixels in 0 to 1.
        std: Then divided by; more than 0.
        reading: How files are read, before all of it.
        detail: Rows and columns that a larger picture is first resized to, from 1, so that it shows no more detail than
            the training images had; None for no such limit. Pictures of that size and smaller ones are left as they
            are. With `letterbox` it is the longer side that is brought to it.
    """

    height: int
    width: int
    channels: int = 3
    fit: str = "squash"
    mean: float = 0.5
    std: float = 0.5
    reading: Reading = field(default_factory=Reading)
    detail: int | None = None

    def __post_init__(self) -> None:
        for name in ("height", "width", *["detail"] * (self.detail is not None)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} {value!r} is no image size; give a whole number of pixels from 1")
        if self.channels not in (1, 3):
            raise InputError(f"{self.channels!r} channels are not possible; choose 1 (grey) or 3 (RGB)")
        if self.fit not in FITS:
            raise InputError(f"fit {self.fit!r} is unknown; choose {' or '.join(FITS)}{suggest(str(self.fit), FITS)}")
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise InputError(f"mean {self.mean!r} and std {self.std!r} must be finite, and std more than 0")
        if self.reading.frame == "all":
            raise InputError("a model is trained and evaluated on one frame a file, not on all; choose first or middle")

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """Resize one image: uint8, (h, w) or (h, w, 3) -> uint8 (channels, height, width).

        Grey becomes RGB by repetition; RGB becomes grey by ITU-R 601 (L = 0.299 R + 0.587 G + 0.114 B), before the
        resize. The resize is Pillow's bilinear with antialiasing, columns first, each pass rounded to the nearest
        integer; an image that has the right size already is not changed at all. A letterboxed side is rounded to the
        nearest pixel, at least 1, and an odd pixel of padding goes to the bottom or the right.
        """
        grey_or_rgb = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
        if image.dtype != np.uint8 or not grey_or_rgb or 0 in image.shape:
            raise InputError(f"an image must be uint8, (h, w) or (h, w, 3), not {image.dtype} {image.shape}")
        picture = Image.fromarray(image)
        if self.channels == 1:
            picture = picture.convert("L")
        picture = self._fit(picture)
        pixels = np.array(picture)
        if pixels.ndim == 2:
            return np.repeat(pixels[None], self.channels, axis=0)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _fit(self, picture: Image.Image) -> Image.Image:
        top, left, height, width = self.box(picture.height, picture.width)
        if self.detail is not None:
            picture = self._coarsen(picture, self.detail)
        if self.fit == "squash":
            return picture.resize((width, height), Image.Resampling.BILINEAR)
        canvas = Image.new(picture.mode, (self.width, self.height))
        canvas.paste(picture.resize((width, height), Image.Resampling.BILINEAR), (left, top))
        return canvas

    def _coarsen(self, picture: Image.Image, detail: int) -> Image.Image:
        width, height = picture.size
        if self.fit == "squash":
            size = min(width, detail), min(height, detail)
        else:
            scale = min(1.0, detail / max(width, height))
            size = max(1, round(width * scale)), max(1, round(height * scale))
        return picture.resize(size, Image.Resampling.BILINEAR)

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Where an image of height x width pixels lies in what reaches the model: (top, left, height, width)."""
        if self.fit == "squash":
            return 0, 0, self.height, self.width
        scale = min(self.width / width, self.height / height)
        inner_width = min(self.width, max(1, round(width * scale)))
        inner_height = min(self.height, max(1, round(height * scale)))
        return (self.height - inner_height) // 2, (self.width - inner_width) // 2, inner_height, inner_width

    def normalise(self, pixels: Pixels) -> Pixels:
        """uint8 (..., c, h, w), NumPy or torch -> float32 of the same shape and kind, (x / 255 - mean) / std."""
        if isinstance(pixels, np.ndarray):
            scaled = pixels.astype(np.float32) / np.float32(255)
            return (scaled - np.float32(self.mean)) / np.float32(self.std)
        return (pixels.float() / 255 - self.mean) / self.std

    def __str__(self) -> str:
        shrunk = "" if self.detail is None else f", from at most {self.detail} pixels a side"
        return f"{self.height} x {self.width} (height x width), {self.channels} channels, {self.fit}{shrunk}"

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON takes them."""
        entries = asdict(self)
        if self.detail is None:  # as versions that knew no such limit wrote it, and read it
            del entries["detail"]
        return entries

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`. Settings of before there were those of reading are read with their defaults.

        Raises:
            InputError: A setting is unknown, missing or impossible.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(settings) - known):
            raise InputError(f"unknown preprocessing settings {', '.join(unknown)}; a newer version may have made them")
        if missing := sorted({"height", "width"} - set(settings)):
            raise InputError(f"preprocessing lacks {' and '.join(missing)}; expected height and width in pixels")
        return cls(**{**settings, "reading": Reading.from_dict(settings.get("reading", {}))})
