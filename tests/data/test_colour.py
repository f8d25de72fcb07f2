"""Whether images have colours."""

from pathlib import Path

import numpy as np
import pytest

from medmamba.data import open_data
from medmamba.data.colour import SAMPLE, are_grey, is_grey
from medmamba.data.dataset import ImageSet


def image_set(array: np.ndarray) -> ImageSet:
    return ImageSet(tuple(map(str, range(len(array)))), np.zeros(len(array), np.int64), array=array)


def test_grey_that_is_stored_as_rgb_is_grey_and_so_is_one_with_a_coloured_marker() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    assert is_grey(grey)
    picture = np.stack([grey] * 3, axis=-1)
    assert is_grey(picture)
    picture[:6, :6] = (255, 200, 0)
    assert is_grey(picture)
    noisy = picture.astype(int) + np.random.default_rng(1).integers(-1, 2, picture.shape)
    assert is_grey(noisy.clip(0, 255).astype(np.uint8))
    assert not is_grey((picture * np.array([1.0, 0.8, 0.8])).astype(np.uint8))


def test_most_images_decide_and_few_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.full((1000, 4, 4, 3), 90, np.uint8)
    array[:300, ..., 0] = 200
    assert are_grey(image_set(array))
    array[:600, ..., 0] = 200
    assert not are_grey(image_set(array))
    assert not are_grey(image_set(array[:1]))
    looked, read = [], ImageSet.read
    monkeypatch.setattr(ImageSet, "read", lambda self, row, *a, **k: (looked.append(row), read(self, row, *a, **k))[1])
    are_grey(image_set(array))
    assert len(looked) == SAMPLE
    assert (looked[0], looked[-1]) == (0, 999)


@pytest.mark.parametrize(
    ("name", "grey"),
    [
        ("medmnist/breastmnist.npz", True),
        ("busi256", True),
        ("bccd_cells", False),
        ("medmnist/retinamnist.npz", False),
    ],
)
def test_real_sets(data_folder: Path, name: str, grey: bool) -> None:
    assert are_grey(open_data(data_folder / name).split("train")) == grey
