"""Small picture folders and MedMNIST files made on the spot."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import save_image


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """`make_folder({"train/a": 3, "b": 2})` -> a root with that many PNGs in each folder."""

    def make(counts: dict[str, int], name: str = "set") -> Path:
        root = tmp_path / name
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                save_image(root / folder / f"{index:03}.png", index)
        return root

    return make


@pytest.fixture
def make_table(tmp_path: Path) -> Callable[..., Path]:
    """`make_table("file,label\\n...")` -> the table, with a PNG for each name in `files`."""

    def make(text: str, files: list[str], name: str = "table.csv") -> Path:
        for file in files:
            save_image(tmp_path / file)
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


@pytest.fixture
def make_npz(tmp_path: Path) -> Callable[..., Path]:
    """A MedMNIST-like file: (n, side, side) images that hold their own index, and labels from a function of it."""

    def make(
        name: str,
        label: Callable[[int], object] = lambda index: [index % 2],
        side: int = 28,
        channels: int = 1,
        counts: tuple[int, int, int] = (8, 4, 6),
    ) -> Path:
        arrays = {}
        for split, count in zip(("train", "val", "test"), counts, strict=True):
            shape = (count, side, side) if channels == 1 else (count, side, side, channels)
            index = np.arange(count, dtype=np.uint8).reshape(-1, *[1] * (len(shape) - 1))
            arrays[f"{split}_images"] = np.broadcast_to(index, shape)
            arrays[f"{split}_labels"] = np.array([label(row) for row in range(count)], dtype=np.uint8)
        path = tmp_path / name
        np.savez_compressed(path, **arrays)
        return path

    return make
