"""What every trained model at work has in common, whatever runs it: images in, one answer for each. Without torch."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medmamba.bundle import Bundle
from medmamba.data.dataset import ImageSet
from medmamba.data.finding import find_images
from medmamba.data.reading import read_frames, read_image
from medmamba.data.settings import Reading
from medmamba.errors import InputError
from medmamba.metrics.conformal import prediction_sets
from medmamba.predictor.scope import Kind, looks_of
from medmamba.tasks import Task, decide

Item = TypeVar("Item")

UNLIKE = "unlike the images it was trained on"
UNDECIDED = "no single class is sure enough"
REFER = (UNLIKE, UNDECIDED)

_READERS = 4  # Pillow decodes outside Python's lock, so a few threads keep a model fed


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        file: The image as it was named; behind it `#1`, `#2`, ... where frames were asked for one by one.
        label: The class; for multi-label the labels found, joined by `|`; None if the image could not be read.
        probabilities: Of every class, 0 to 1; empty if the image could not be read.
        error: Why it could not be read, or None.
        possible: The prediction set, which holds the true class as often as was promised; None where the model was not
            calibrated for sets. It may be empty: no class fits.
        refer: Why a person should look, `REFER` has the reasons; an empty string where there is no reason, None where
            the model was calibrated for neither sets nor scope.
    """

    file: str
    label: str | None
    probabilities: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    possible: tuple[str, ...] | None = None
    refer: str | None = None


class Classifier(ABC):
    """A trained model, ready to answer.

    Attributes:
        bundle: What it is.
        classes: Class names in the order of the scores' columns.
        device: Name of the device where it runs.
        backend: Name of what runs it there.
        complexity: What `medmamba.evaluation.complexity` counts, where that was recorded; None where a network is there
            to be counted.
        kind: The images it was trained on, where it was calibrated to tell others from them.
    """

    complexity: dict[str, Any] | None = None
    kind: Kind | None = None

    def __init__(self, bundle: Bundle, *, device: str, backend: str) -> None:
        """`load` makes one."""
        self.bundle = bundle
        self.classes = bundle.classes
        self.device = device
        self.backend = backend

    @abstractmethod
    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Of images as `Preprocessing.pixels` gives them: uint8 (b, c, height, width) to float64 (b, classes)."""

    @abstractmethod
    def features_and_probabilities(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the same images: pooled features before the last layer, float32 (b, d), and probabilities, as above.

        Raises:
            InputError: What runs the model gives no features.
        """

    def examined(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the same images: probabilities, and their distance from the training images by the largest allowed.

        Returns:
            (b, classes) float64; and (b,), above 1 for a picture of another kind, NaN where the model cannot tell.
        """
        if self.kind is None:
            return self.probabilities(pixels), np.full(len(pixels), np.nan)
        features, scores = self.features_and_probabilities(pixels)
        return scores, self.kind.strangeness(features, looks_of(pixels))

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Pooled features before the last layer, float32 (b, d), of images as for `probabilities`.

        Raises:
            InputError: What runs the model gives no features.
        """
        return self.features_and_probabilities(pixels)[0]

    def predict(
        self,
        images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        batch_size: int = 32,
        frame: str | None = None,
        max_pixels: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Prediction]:
        """Classify images.

        Args:
            images: Files, folders, glob patterns or list files; see `medmamba.data.find_images`.
            batch_size: Images that go through the model at once; it changes speed and memory, not the answers.
            frame: Of files with several, in place of what the model was trained with: `first`, `middle`, a number from
                1, or `all`.
            max_pixels: The limit of one frame, in place of what the model was trained with.
            progress: Called with (files done, files in all) after each batch.

        Returns:
            One prediction a file, in the order given, also for those that cannot be read. With `all` a file of several
            frames has one for each and then its own: the mean of their probabilities.

        Raises:
            InputError: A folder or list holds no image, something else than paths was given, or an option is none.
        """
        _check_batch_size(batch_size)
        reading = self._reading(frame, max_pixels)
        if isinstance(images, str | os.PathLike):
            images = [images]
        found = find_images(images)
        with ThreadPoolExecutor(_READERS) as pool:
            answers: list[Prediction] = []
            done = 0
            for batch in _batches(found, 1 if reading.frame == "all" else batch_size):
                if reading.frame == "all":
                    answers += self._answer_frames(*batch[0], reading, batch_size)
                else:
                    read = list(pool.map(lambda item: self._try(item[1], reading), batch))
                    answers += self._answer([name for name, _ in batch], read)
                done += len(batch)
                if progress is not None:
                    progress(done, len(found))
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
        (scores,) = self.gather(images, lambda pixels: (self.probabilities(pixels),), batch_size, progress)
        return scores

    def features_and_scores(
        self, images: ImageSet, *, batch_size: int = 64, progress: Callable[[int, int], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features of a split, (n, d), float32, and its probabilities, (n, classes), float64, in its order.

        Args:
            images: The split.
            batch_size: Images that go through the model at once.
            progress: Called with (images done, images in all) after each batch.

        Raises:
            InputError: An image cannot be read, and the message names it; or what runs the model gives no features.
        """
        features, scores = self.gather(images, self.features_and_probabilities, batch_size, progress)
        return features, scores

    def gather(
        self,
        images: ImageSet,
        answer: Callable[[np.ndarray], tuple[np.ndarray, ...]],
        batch_size: int,
        progress: Callable[[int, int], None] | None,
    ) -> tuple[np.ndarray, ...]:
        """What `answer` gives for pixels (b, c, h, w), (b, ...) each, for all images of a split: (n, ...) each.

        The other arguments and errors are those of `scores`.
        """
        _check_batch_size(batch_size)
        if len(images) == 0:
            raise InputError("there are no images to answer for; give a split that has some")
        shape = self.bundle.preprocessing
        parts = []
        with ThreadPoolExecutor(_READERS) as pool:
            for rows in _batches(range(len(images)), batch_size):
                stack = np.stack(list(pool.map(lambda row: shape.pixels(images.read(row, shape.reading)), rows)))
                parts.append(answer(stack))
                if progress is not None:
                    progress(rows[-1] + 1, len(images))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def _reading(self, frame: str | None, max_pixels: int | None) -> Reading:
        given = {"frame": frame, "max_pixels": max_pixels}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return replace(self.bundle.preprocessing.reading, **changes)

    def _try(self, path: Path, reading: Reading) -> np.ndarray | str:
        """uint8 pixels (c, h, w), or why there are none."""
        try:
            return self.bundle.preprocessing.pixels(read_image(path, reading))
        except (InputError, OSError) as reason:
            return str(reason)

    def _answer(self, names: Sequence[str], read: list[np.ndarray | str]) -> list[Prediction]:
        good = [row for row, pixels in enumerate(read) if not isinstance(pixels, str)]
        answers = [Prediction(name, None, error=str(reason)) for name, reason in zip(names, read, strict=True)]
        if good:
            examined = self.examined(np.stack([read[row] for row in good]))
            for row, answer in zip(good, self.predictions([names[row] for row in good], *examined), strict=True):
                answers[row] = answer
        return answers

    def _answer_frames(self, name: str, path: Path, reading: Reading, batch_size: int) -> list[Prediction]:
        """Of every frame, and then of the file; of the file alone if it has one frame or one cannot be read."""
        scores, strange = np.empty((0, len(self.classes))), np.empty(0)
        try:
            with closing(read_frames(path, reading)) as frames:
                pixels = map(self.bundle.preprocessing.pixels, frames)
                while batch := list(islice(pixels, batch_size)):
                    more_scores, more_strange = self.examined(np.stack(batch))
                    scores, strange = np.concatenate([scores, more_scores]), np.concatenate([strange, more_strange])
        except (InputError, OSError) as reason:
            return [Prediction(name, None, error=str(reason))]
        whole = self.predictions([name], scores.mean(axis=0, keepdims=True), strange.mean(keepdims=True))
        if len(scores) == 1:
            return whole
        numbered = [f"{name}#{number}" for number in range(1, len(scores) + 1)]
        return self.predictions(numbered, scores, strange) + whole

    def predictions(self, names: Sequence[str], scores: np.ndarray, strange: np.ndarray) -> list[Prediction]:
        """What is answered for images, by their names and what `examined` gives: (n, classes) and (n,)."""
        sets = self.possible(scores)
        reasons = self.reasons(sets, strange)
        return [
            Prediction(
                name,
                label,
                dict(zip(self.classes, scores[row].tolist(), strict=True)),
                possible=None if sets is None else tuple(self.classes[k] for k in np.flatnonzero(sets[row])),
                refer=None if reasons is None else reasons[row],
            )
            for row, (name, label) in enumerate(zip(names, self._labels(scores), strict=True))
        ]

    def possible(self, scores: np.ndarray) -> np.ndarray | None:
        """Which classes the prediction set of each image holds, bool (n, classes); None where none are made."""
        conformal = self.bundle.decisions.conformal
        return None if conformal is None else prediction_sets(scores, np.array(conformal.quantiles))

    def reasons(self, sets: np.ndarray | None, strange: np.ndarray) -> list[str] | None:
        """Why a person should look at each image, of `REFER`, or an empty string; None where that is never said."""
        if sets is None and self.kind is None:
            return None
        undecided = np.zeros(len(strange), dtype=bool) if sets is None else sets.sum(axis=1) != 1
        return [
            UNLIKE if far else UNDECIDED if open_ else "" for far, open_ in zip(strange > 1, undecided, strict=True)
        ]

    def _labels(self, scores: np.ndarray) -> list[str]:
        bundle = self.bundle
        decisions = decide(bundle.task, scores, threshold=bundle.threshold, positive=bundle.positive)
        if bundle.task is Task.MULTILABEL:
            return ["|".join(self.classes[label] for label in np.flatnonzero(row)) for row in decisions]
        return [self.classes[label] for label in decisions]


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch size {batch_size} is none; give 1 or more")


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
