"""Copies are found whatever was done to them, and pictures that merely look alike are not called copies."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmamba.check.duplicates import find_duplicates
from medmamba.check.scan import look
from medmamba.data import open_data
from medmamba.data.phantoms import phantom

Picture = Image.Image


def jpeg(picture: Picture, quality: int = 70) -> Picture:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file)


def resized(picture: Picture, share: float = 0.6) -> Picture:
    return picture.resize((round(picture.width * share), round(picture.height * share)), Image.Resampling.LANCZOS)


CHANGES = {
    "identical": lambda picture: picture,
    "recompressed": jpeg,
    "smaller": resized,
    "larger": lambda picture: resized(picture, 1.5),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda picture: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "mirrored, smaller and recompressed": lambda picture: jpeg(resized(CHANGES["mirrored"](picture), 0.75)),
}


def groups_of(pictures: list[Picture]) -> list[tuple[int, ...]]:
    looks = [look(np.asarray(picture)) for picture in pictures]
    return [g.rows for g in find_duplicates([x.digest for x in looks], np.stack([x.thumb for x in looks]))]


def recall_and_false_alarms(pictures: list[Picture]) -> tuple[float, float]:
    """A changed copy of every fifth picture is planted; each change in turn."""
    changes = list(CHANGES.values())
    planted = {len(pictures) + i: row for i, row in enumerate(range(0, len(pictures), 5))}
    copies = [changes[i % len(changes)](pictures[row]) for i, row in enumerate(planted.values())]
    groups = groups_of([*pictures, *copies])
    together = {row: set(group) for group in groups for row in group}
    found = [row in together.get(copy, ()) for copy, row in planted.items()]
    planted_rows = {*planted, *planted.values()}
    alarms = [row for row in together if row not in planted_rows]
    return float(np.mean(found)), len(alarms) / (len(pictures) - len(planted))


def test_planted_copies_of_synthetic_pictures_are_found() -> None:
    pictures = [Image.fromarray(phantom(row, seed=5)[0]) for row in range(400)]
    recall, alarms = recall_and_false_alarms(pictures)
    assert recall >= 0.95
    assert alarms <= 0.01


@pytest.mark.parametrize("name", ["isic2017", "bccd_cells"])
def test_planted_copies_of_real_pictures_are_found(data_folder: Path, name: str) -> None:
    images = open_data(data_folder / name).split("train")
    rows = range(0, len(images), max(1, len(images) // 200))
    recall, alarms = recall_and_false_alarms([Image.fromarray(images.read(row)) for row in rows])
    assert recall >= 0.95
    assert alarms <= 0.01


def test_pictures_that_share_a_layout_are_no_copies(data_folder: Path) -> None:
    """Fundi at 28 pixels, a disc each. Real copies aside, few may be grouped."""
    images = open_data(data_folder / "medmnist/retinamnist.npz").split("train")
    groups = groups_of([Image.fromarray(images.read(row)) for row in range(len(images))])
    assert max(map(len, groups)) <= 4
    assert sum(map(len, groups)) < 0.08 * len(images)


def test_flat_pictures_are_not_all_the_same() -> None:
    pictures = [Image.new("L", (40, 40), level) for level in (10, 90, 200)]
    assert groups_of(pictures) == []
    assert groups_of([*pictures, pictures[1]]) == [(1, 3)]  # but equal ones are


def test_a_group_joins_all_that_resemble_a_member() -> None:
    picture = Image.fromarray(phantom(0, size=96)[0])
    rest = [Image.fromarray(phantom(row, size=96)[0]) for row in (1, 2)]
    assert groups_of([picture, rest[0], jpeg(picture), rest[1], resized(picture)]) == [(0, 2, 4)]


def test_grey_and_rgb_with_equal_channels_are_pixel_equal() -> None:
    grey = phantom(3)[0]
    assert look(grey).digest == look(np.repeat(grey[..., None], 3, axis=2)).digest
    assert look(grey).digest != look(grey.T.copy()).digest
    assert look(grey.reshape(32, 128)).digest != look(grey).digest
