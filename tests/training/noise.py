"""A small data set in memory, and the options of a run on it that takes a second."""

from __future__ import annotations

from typing import Any

import numpy as np

from medmamba.data.dataset import Dataset, ImageSet
from medmamba.tasks import Task
from medmamba.training.config import TrainConfig


def make_images(n: int, seed: int = 0, *, classes: int = 2, side: int = 32, name: str = "train") -> ImageSet:
    """Noise whose brightness rises with the class, so that a few steps learn something."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % classes
    pixels = rng.integers(0, 120, (n, side, side)) + (targets * 100 // classes)[:, None, None]
    return ImageSet(tuple(f"{name}/{i}" for i in range(n)), targets.astype(np.int64), array=pixels.astype(np.uint8))


def make_data(train: int = 24, val: int = 11, *, classes: int = 2, **changes: Any) -> Dataset:
    def refuse() -> ImageSet:
        raise AssertionError("training opened the test split")

    splits = {
        "train": lambda: make_images(train, classes=classes),
        "val": lambda: make_images(val, 1, classes=classes, name="val"),
        "test": refuse,
    }
    names = ("benign", "malignant", "normal", "other", "unclear")[:classes]
    task = Task.BINARY if classes == 2 else Task.MULTICLASS
    return Dataset(**{"name": "noise", "task": task, "classes": names, "splits": splits, "positive": 1, **changes})


SHORT = TrainConfig(
    model="test_resnet", recipe="quick", image_size=(32, 32), epochs=2, batch_size=8, device="cpu", progress=False
)
