"""One pass over all images: each is read once, and what the checks need of it is kept. The pixels are not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.reading import DEFAULT, kind_of
from medmamba.data.settings import Reading
from medmamba.errors import InputError
from medmamba.tasks import Task

THUMB = 32  # height and width of the thumbnails, pixels
BORDER = 0.12  # the outermost part of each side that counts as border
BRIGHT, DARK = 250, 5  # grey levels from and up to which a pixel is as good as white or black


@dataclass(frozen=True)
class Look:
    """What is kept of one image.

    Attributes:
        digest: Of shape and pixels: equal for pixel-equal images, grey or RGB with equal channels.
        thumb: Grey, uint8 (32, 32).
        size: Height and width in pixels.
        kind: As `medmamba.data.reading.kind_of` tells it.
        file_size: In bytes; 0 for an image in an array.
        mean: Grey level, 0 to 255.
        spread: Standard deviation of the grey levels.
        border: Mean, spread, and shares of white and black pixels, of eight parts of the border, float32 (32,).
    """

    digest: bytes
    thumb: np.ndarray
    size: tuple[int, int]
    kind: str
    file_size: int
    mean: float
    spread: float
    border: np.ndarray


@dataclass(frozen=True)
class Scan:
    """Columns over the images that could be read, in the order of the splits.

    Attributes:
        opened: The splits.
        reading: How files were read.
        names: Of the images.
        splits: Of each image.
        targets: (n,), or (n, classes) for multi-label.
        groups: Patient of each image, or None.
        rows: Row of each image in its split.
        looks: What was seen.
        unreadable: (name, reason) of those that could not be read.
    """

    opened: Mapping[str, ImageSet]
    reading: Reading
    names: list[str]
    splits: np.ndarray
    targets: np.ndarray
    groups: list[str] | None
    rows: list[int]
    looks: list[Look]
    unreadable: list[tuple[str, str]]

    def pixels(self, row: int) -> np.ndarray:
        """Read an image once more, uint8 (h, w) or (h, w, 3).

        Raises:
            InputError: It has gone since.
        """
        return self.opened[str(self.splits[row])].read(self.rows[row], self.reading, tell=False)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each name."""
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def thumbs(self) -> np.ndarray:
        """Thumbnails of all, uint8 (n, 32, 32)."""
        return np.stack([look.thumb for look in self.looks]) if self.looks else np.empty((0, THUMB, THUMB), np.uint8)


def scan(data: Dataset, *, reading: Reading = DEFAULT, progress: Callable[[int, int], None] | None = None) -> Scan:
    """Look at every image of every split.

    Args:
        data: The data set.
        reading: How files are read.
        progress: Called with (images done, images in all).
    """
    opened = {name: data.split(name) for name in data.splits}
    places = [(name, row) for name, images in opened.items() for row in range(len(images))]
    good, looks, unreadable = [], [], []
    for done, (place, seen) in enumerate(zip(places, _look_at_all(opened, places, reading), strict=True), 1):
        if isinstance(seen, str):
            unreadable.append((opened[place[0]].names[place[1]], seen))
        else:
            good.append(place)
            looks.append(seen)
        if progress is not None:
            progress(done, len(places))
    grouped = all(images.groups is not None for images in opened.values())
    multi_label = data.task is Task.MULTILABEL
    return Scan(
        opened=opened,
        reading=reading,
        names=[opened[name].names[row] for name, row in good],
        splits=np.array([name for name, _ in good], dtype=str),
        targets=np.array([opened[name].targets[row] for name, row in good], dtype=np.int64).reshape(
            len(good), *((len(data.classes),) if multi_label else ())
        ),
        groups=[(opened[name].groups or ())[row] for name, row in good] if grouped else None,
        rows=[row for _, row in good],
        looks=looks,
        unreadable=unreadable,
    )


def _look_at_all(
    opened: Mapping[str, ImageSet], places: list[tuple[str, int]], reading: Reading
) -> Iterator[Look | str]:
    """What was seen of each image, or why nothing was, in order. Decoders work outside Python's lock."""

    def one(place: tuple[str, int]) -> Look | str:
        images, row = opened[place[0]], place[1]
        try:
            pixels = images.read(row, reading, tell=False)
            return look(pixels, None if images.files is None else images.files[row], reading)
        except (InputError, OSError) as reason:
            return str(reason)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        step = 4096  # so that waiting answers do not pile up
        for start in range(0, len(places), step):
            yield from pool.map(one, places[start : start + step])


def look(pixels: np.ndarray, file: Path | None = None, reading: Reading = DEFAULT) -> Look:
    """See what the checks need of one image, uint8 (h, w) or (h, w, 3), and of its file."""
    grey = pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))
    same = pixels[..., 0] if pixels.ndim == 3 and _is_grey(pixels[::16, ::16]) and _is_grey(pixels) else pixels
    digest = hashlib.sha256(repr(same.shape).encode())
    digest.update(np.ascontiguousarray(same).data)
    thumb = Image.fromarray(grey).resize((THUMB, THUMB), Image.Resampling.BILINEAR, reducing_gap=3)
    return Look(
        digest=digest.digest(),
        thumb=np.array(thumb),
        size=grey.shape,
        kind=("array L" if pixels.ndim == 2 else "array RGB") if file is None else kind_of(file, reading),
        file_size=0 if file is None else file.stat().st_size,
        mean=float(grey.mean()),
        spread=float(grey.std()),
        border=border_features(grey),
    )


def _is_grey(pixels: np.ndarray) -> bool:
    """Whether the channels are equal."""
    return bool((pixels == pixels[..., :1]).all())


def border_features(grey: np.ndarray) -> np.ndarray:
    """Mean, spread, share of white and share of black pixels of the four corners and four sides, float32 (32,)."""
    height, width = grey.shape
    y, x = max(1, round(BORDER * height)), max(1, round(BORDER * width))
    rows = (slice(0, y), slice(y, max(y + 1, height - y)), slice(max(0, height - y), height))
    columns = (slice(0, x), slice(x, max(x + 1, width - x)), slice(max(0, width - x), width))
    parts = [grey[r, c] for i, r in enumerate(rows) for j, c in enumerate(columns) if (i, j) != (1, 1)]
    figures = [
        (part.mean(), part.std(), (part >= BRIGHT).mean(), (part <= DARK).mean()) if part.size else (0, 0, 0, 0)
        for part in parts
    ]
    return np.array(figures, dtype=np.float32).ravel()
