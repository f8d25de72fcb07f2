"""Answers of a model for every corruption at every severity: images are read once, and a batch is in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from medmamba.data.dataset import ImageSet
from medmamba.errors import InputError
from medmamba.predictor import Classifier
from medmamba.robustness.pixels import without_colour, working_size
from medmamba.robustness.table import SEVERITIES, Corruption

_THREADS = min(16, max(4, os.cpu_count() or 4))  # NumPy and Pillow work outside Python's lock


@dataclass(frozen=True)
class Answers:
    """Probabilities of a model for n images, clean and corrupted.

    Attributes:
        clean: (n, classes).
        shrunk: The same after large pictures were shrunk to the size at which they are corrupted, (n, classes).
        corrupted: (corruptions, 5, n, classes); where a corruption does not apply to an image, its clean answer.
        change: Mean distance between the pixels that reach the model clean and corrupted, in grey levels of 255,
            (corruptions, 5, n).
        grey: Which images have no colour, or lose it on their way to the model, (n,) bool.
        large: Which were shrunk, (n,) bool.
    """

    clean: np.ndarray
    shrunk: np.ndarray
    corrupted: np.ndarray
    change: np.ndarray
    grey: np.ndarray
    large: np.ndarray


def score_corrupted(
    classifier: Classifier,
    images: ImageSet,
    rows: Sequence[int],
    corruptions: Sequence[Corruption],
    *,
    side: int,
    seed: int,
    batch_size: int,
    progress: Callable[[int], None],
) -> Answers:
    """Score images clean, and corrupted in every way at the severities 1 to 5.

    Args:
        classifier: The model.
        images: The split.
        rows: Which of its images, places in its order; an image's draws depend on its place.
        corruptions: Rows of the table.
        side: Pictures with a longer short side are shrunk to it before they are corrupted.
        seed: 0 or more; decides what is random.
        batch_size: Images that go through the model at once.
        progress: Called with the number of images that went through it, now and again.

    Raises:
        InputError: An image cannot be read, or the model's answers are no numbers.
    """
    n, classes = len(rows), len(classifier.classes)
    corrupted = np.empty((len(corruptions), len(SEVERITIES), n, classes))
    answers = Answers(
        np.empty((n, classes)),
        np.empty((n, classes)),
        corrupted,
        np.zeros(corrupted.shape[:3]),
        np.zeros(n, bool),
        np.zeros(n, bool),
    )
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, n, batch_size):
            batch = _Batch(classifier, pool, images, rows[start : start + batch_size], side)
            _answer(
                classifier, pool, batch, slice(start, start + len(batch.rows)), corruptions, seed, answers, progress
            )
    if not (np.isfinite(answers.clean).all() and np.isfinite(corrupted).all()):
        raise InputError("the model's answers are not finite; its weights are damaged")
    return answers


class _Batch:
    """Some images: as they reach the model, (b, c, height, width), and at the size at which they are corrupted."""

    def __init__(
        self, classifier: Classifier, pool: ThreadPoolExecutor, images: ImageSet, rows: Sequence[int], side: int
    ) -> None:
        shape = classifier.bundle.preprocessing

        def read(row: int) -> tuple[np.ndarray, np.ndarray, bool]:
            image = images.read(row, shape.reading)
            small = working_size(image, side)
            return shape.pixels(image), without_colour(small), small is not image

        read_images = list(pool.map(read, rows))
        self.rows = rows
        self.pixels = np.stack([pixels for pixels, _, _ in read_images])
        self.pictures = [picture for _, picture, _ in read_images]
        self.large = np.array([large for _, _, large in read_images])
        self.grey = np.array([picture.ndim == 2 or shape.channels == 1 for picture in self.pictures])


def _answer(
    classifier: Classifier,
    pool: ThreadPoolExecutor,
    batch: _Batch,
    where: slice,
    corruptions: Sequence[Corruption],
    seed: int,
    answers: Answers,
    progress: Callable[[int], None],
) -> None:
    """Fill the part of `answers` that belongs to a batch."""
    answers.clean[where] = classifier.probabilities(batch.pixels)
    answers.grey[where], answers.large[where] = batch.grey, batch.large
    answers.shrunk[where] = answers.clean[where]
    if batch.large.any():
        shape = classifier.bundle.preprocessing
        small = np.stack([shape.pixels(picture) for picture in batch.pictures])
        answers.shrunk[where] = classifier.probabilities(small)
    progress(len(batch.rows))
    for cell, which, pixels in _corrupted(classifier, pool, batch, corruptions, seed):
        scores = answers.clean[where].copy()
        if len(which):
            scores[which] = classifier.probabilities(pixels)
            answers.change[cell][where][which] = _distance(pixels, batch.pixels[which])
        answers.corrupted[cell][where] = scores
        progress(len(batch.rows))


def _corrupted(
    classifier: Classifier,
    pool: ThreadPoolExecutor,
    batch: _Batch,
    corruptions: Sequence[Corruption],
    seed: int,
) -> Iterator[tuple[tuple[int, int], np.ndarray, np.ndarray]]:
    """Of each (corruption, severity): their places, the images that it applies to, and these as they reach the model.

    The next ones are made while the model is at work on these.
    """
    shape = classifier.bundle.preprocessing
    cells = [(place, severity) for place in range(len(corruptions)) for severity in SEVERITIES]

    def applies(place: int) -> np.ndarray:
        return np.flatnonzero(~batch.grey) if corruptions[place].needs_colour else np.arange(len(batch.rows))

    def start(place: int, severity: int) -> Iterator[np.ndarray]:
        corruption = corruptions[place]

        def change(k: int) -> np.ndarray:
            return shape.pixels(corruption(batch.pictures[k], severity, corruption.generator(seed, batch.rows[k])))

        return pool.map(change, applies(place))

    upcoming = start(*cells[0])
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        made = list(upcoming)
        if following is not None:
            upcoming = start(*following)
        place, severity = cell
        yield (place, severity - 1), applies(place), np.stack(made) if made else batch.pixels[:0]


def _distance(pixels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean absolute difference of uint8 images (b, c, h, w), each (b,)."""
    larger, smaller = np.maximum(pixels, others), np.minimum(pixels, others)
    return (larger - smaller).mean(axis=(1, 2, 3))
