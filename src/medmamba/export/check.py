"""Whether an exported file answers as the network does: the same pixels to both, in several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medmamba.bundle import Bundle
from medmamba.data.dataset import ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.tasks import decide

TOLERANCE = 1e-4  # of a probability
BATCHES = (1, 2, 7)

Answer = Callable[[np.ndarray], np.ndarray]  # uint8 (b, c, h, w) to float64 (b, classes)


@dataclass(frozen=True)
class Check:
    """What a comparison found.

    Attributes:
        images: How many were compared.
        source: Where they came from, in words.
        batches: Sizes of the batches in which the file was asked.
        largest_difference: Of a probability, over all images and batch sizes; None if one was not a number.
        other_decisions: How many decisions differ, over all images and batch sizes.
        tolerance: The largest difference allowed.
    """

    images: int
    source: str
    batches: tuple[int, ...]
    largest_difference: float | None
    other_decisions: int
    tolerance: float = TOLERANCE

    @property
    def passed(self) -> bool:
        difference = self.largest_difference
        return difference is not None and difference <= self.tolerance and self.other_decisions == 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self) | {"batches": list(self.batches), "passed": self.passed}


def compare(
    bundle: Bundle,
    network: Answer,
    exported: Answer,
    pixels: np.ndarray,
    *,
    source: str,
    batches: Sequence[int] = BATCHES,
    progress: Callable[[int, int], None] | None = None,
) -> Check:
    """Ask both for the same images.

    Args:
        bundle: Decides what is decided.
        network: Answers that are taken for right.
        exported: Answers to be checked.
        pixels: uint8 (n, c, height, width).
        source: Where they came from, in words.
        batches: Sizes of the batches that `exported` is asked in.
        progress: Called with (images done, images in all).
    """
    total, done = len(pixels) * (1 + len(batches)), 0

    def answers(answer: Answer, size: int) -> np.ndarray:
        nonlocal done
        parts = []
        for start in range(0, len(pixels), size):
            parts.append(answer(pixels[start : start + size]))
            done += len(parts[-1])
            if progress is not None:
                progress(done, total)
        return np.concatenate(parts)

    def decisions(scores: np.ndarray) -> np.ndarray:
        return decide(bundle.task, scores, threshold=bundle.threshold, positive=bundle.positive)

    truth = answers(network, max(batches))
    differences, other = [], 0
    for size in batches:
        scores = answers(exported, size)
        differences.append(np.abs(scores - truth).max())
        other += int((decisions(scores) != decisions(truth)).sum())
    largest = float(np.max(differences))
    return Check(len(pixels), source, tuple(batches), largest if np.isfinite(largest) else None, other)


def probes(shape: Preprocessing, images: ImageSet, number: int) -> np.ndarray:
    """Pixels to compare with: images evenly spread over a set, then `extremes`; uint8 (n, c, height, width).

    Raises:
        InputError: An image cannot be read.
    """
    rows = np.unique(np.linspace(0, len(images) - 1, min(number, len(images))).round().astype(int))
    return np.stack([*(shape.pixels(images.read(int(row), shape.reading)) for row in rows), *extremes(shape)])


def extremes(shape: Preprocessing) -> list[np.ndarray]:
    """What no scanner makes: black, white, a board of single pixels, noise, one bright pixel; uint8 (c, h, w)."""
    size = (shape.channels, shape.height, shape.width)
    black = np.zeros(size, np.uint8)
    board = (np.indices(size[1:]).sum(axis=0) % 2 * 255).astype(np.uint8)
    point = black.copy()
    point[:, shape.height // 2, shape.width // 2] = 255
    noise = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    return [black, black + 255, np.broadcast_to(board, size), noise, point]
