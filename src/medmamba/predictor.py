"""A trained model at work: images in, probabilities out. Needs nothing that only training needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from medmamba.bundle import Bundle, load_bundle, load_model
from medmamba.data.dataset import ImageSet
from medmamba.data.reading import find_images, read_image
from medmamba.device import check_device, scan_backend, settle
from medmamba.errors import InputError
from medmamba.network import fold_batch_norms
from medmamba.tasks import Task, decide, probabilities

Item = TypeVar("Item")

_READERS = 4  # Pillow decodes outside Python's lock, so a few threads keep a model fed


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        file: The image as it was named.
        label: The class; for multi-label the labels found, joined by `|`; None if the image could not be read.
        probabilities: Of every class, 0 to 1; empty if the image could not be read.
        error: Why it could not be read, or None.
    """

    file: str
    label: str | None
    probabilities: dict[str, float] = field(default_factory=dict)
    error: str | None = None


class Classifier:
    """A bundle's model, ready to answer.

    Attributes:
        bundle: What it is.
        classes: Class names in the order of the scores' columns.
        device: Where it runs.
        backend: Name of the scan backend that runs there.
    """

    def __init__(self, bundle: Bundle, model: nn.Module, device: torch.device) -> None:
        """Take a model that is in evaluation mode and on `device` already; `load` does that."""
        self.bundle = bundle
        self.classes = bundle.classes
        self.model = model
        self.device = device
        self.backend = scan_backend(device)

    def predict(
        self,
        images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        batch_size: int = 32,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Prediction]:
        """Classify images.

        Args:
            images: Files, folders, glob patterns or list files; see `medmamba.data.find_images`.
            batch_size: Images that go through the model at once; it changes speed and memory, not the answers.
            progress: Called with (images done, images in all) after each batch.

        Returns:
            One prediction an image, in the order given, also for those that cannot be read.

        Raises:
            InputError: A folder or list holds no image, or the batch size is none.
        """
        _check_batch_size(batch_size)
        if isinstance(images, str | os.PathLike):
            images = [images]
        found = find_images(images)
        with ThreadPoolExecutor(_READERS) as pool:
            answers: list[Prediction] = []
            for batch in _batches(found, batch_size):
                answers += self._answer(batch, list(pool.map(self._try, [path for _, path in batch])))
                if progress is not None:
                    progress(len(answers), len(found))
        return answers

    def scores(
        self, images: ImageSet, *, batch_size: int = 64, progress: Callable[[int, int], None] | None = None
    ) -> np.ndarray:
        """Probabilities of a split, (n, classes), float64, in its order.

        Args:
            images: The split.
            batch_size: Images that go through the model at once.
            progress: Called with (images done, images in all) after each batch.

        Raises:
            InputError: An image cannot be read; the message names it.
        """
        _check_batch_size(batch_size)
        scores = np.empty((len(images), len(self.classes)))
        pixels = self.bundle.preprocessing.pixels
        with ThreadPoolExecutor(_READERS) as pool:
            for rows in _batches(range(len(images)), batch_size):
                stack = np.stack(list(pool.map(lambda row: pixels(images.read(row)), rows)))
                scores[rows] = self._probabilities(stack)
                if progress is not None:
                    progress(rows[-1] + 1, len(images))
        return scores

    def _try(self, path: Path) -> np.ndarray | str:
        """uint8 pixels (c, h, w), or why there are none."""
        try:
            return self.bundle.preprocessing.pixels(read_image(path))
        except (InputError, OSError) as reason:
            return str(reason)

    def _answer(self, batch: Sequence[tuple[str, Path]], read: list[np.ndarray | str]) -> list[Prediction]:
        good = [row for row, pixels in enumerate(read) if not isinstance(pixels, str)]
        answers = [Prediction(name, None, error=str(reason)) for (name, _), reason in zip(batch, read, strict=True)]
        if good:
            scores = self._probabilities(np.stack([read[row] for row in good]))
            for row, label, of_class in zip(good, self._labels(scores), scores.tolist(), strict=True):
                answers[row] = Prediction(batch[row][0], label, dict(zip(self.classes, of_class, strict=True)))
        return answers

    def _labels(self, scores: np.ndarray) -> list[str]:
        bundle = self.bundle
        decisions = decide(bundle.task, scores, threshold=bundle.threshold, positive=bundle.positive)
        if bundle.task is Task.MULTILABEL:
            return ["|".join(self.classes[label] for label in np.flatnonzero(row)) for row in decisions]
        return [self.classes[label] for label in decisions]

    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (b, c, h, w) -> float64 (b, classes)."""
        with torch.inference_mode():
            x = self.bundle.preprocessing.normalise(torch.from_numpy(pixels).to(self.device))
            return probabilities(self.bundle.task, self.model(x)).cpu().double().numpy()


def load(folder: str | os.PathLike[str], *, device: str = "auto") -> Classifier:
    """The classifier of a bundle.

    Args:
        folder: What `train` wrote.
        device: `auto` (CUDA, then MPS, then CPU), `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        InputError: The folder is no bundle, is damaged, or the device is not there.
    """
    bundle = load_bundle(folder)
    check_device(device)
    model = fold_batch_norms(load_model(folder, bundle))
    shape = bundle.preprocessing
    place = settle(model, device, (1, shape.channels, shape.height, shape.width))
    return Classifier(bundle, model, place)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch size {batch_size} is none; give 1 or more")


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
