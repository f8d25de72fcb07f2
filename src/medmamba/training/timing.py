"""How the time of an epoch splits into waiting for images and computing, and a warning where reading is the brake."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import torch
from lightning import Callback, Trainer

from medmamba.training.loader import Batch

logger = logging.getLogger(__name__)

BRAKE = 0.3  # share of the time of training from which waiting for images is worth a warning
_LEAST = 1.0  # seconds of waiting in an epoch below which it is not


class TimedBatches:
    """The batches of another iterable, and how long a training step had to wait for them.

    On CUDA it is the time for which the GPU stood between the last kernel of one step and the first of the next: what
    the processor does meanwhile is no waiting as long as the GPU has work. Elsewhere it is the time of the process.
    """

    def __init__(self, batches: Iterable[Batch], device: torch.device) -> None:
        assert isinstance(batches, Sized)
        self.batches = batches
        self.on_cuda = device.type == "cuda"
        self.marks: list[Any] = []  # before and after each batch, of the epoch that is running

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        self.marks = [self._mark()]
        for batch in self.batches:
            self.marks.append(self._mark())
            yield batch
            self.marks.append(self._mark())

    def _mark(self) -> Any:
        if not self.on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def waited(self) -> float:
        """Seconds of waiting in the epoch; on CUDA its work must be done."""
        pairs = list(zip(self.marks[0::2], self.marks[1::2], strict=False))
        if self.on_cuda:
            return sum(before.elapsed_time(after) for before, after in pairs) / 1000
        return sum(after - before for before, after in pairs)


class Pace(Callback):
    """A line in the log for each epoch, and one warning at most."""

    def __init__(self, batches: TimedBatches, remedy: str) -> None:
        """Prepare.

        Args:
            batches: Of training.
            remedy: What to do if they are the brake, in words.
        """
        self.batches = batches
        self.remedy = remedy
        self.warned = False
        self.began = self.trained = 0.0

    def on_train_epoch_start(self, trainer: Trainer, module: Any) -> None:
        self.began = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, module: Any) -> None:
        if self.batches.on_cuda:
            torch.cuda.synchronize()  # once an epoch: the last steps are still at work
        self.trained = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        now = time.perf_counter()
        if trainer.is_global_zero:
            self.report(module.epoch + 1, module.seen, self.trained - self.began, now - self.trained)

    def report(self, epoch: int, images: int, training: float, validation: float) -> None:
        """Log the pace of an epoch from its number, images and seconds."""
        waited = min(self.batches.waited(), training)
        share = waited / training if training > 0 else 0.0
        logger.info(
            "time of epoch %d: training %.3f s (%.1f images/s), of it %.0f %% waiting for images (%.3f s) "
            "and %.3f s computing; validation and saving %.3f s",
            epoch,
            training,
            images / max(training, 1e-9),
            100 * share,
            waited,
            training - waited,
            validation,
        )
        if share >= BRAKE and waited >= _LEAST and not self.warned:
            self.warned = True
            logger.warning(
                "reading images is the brake: training waits for it %.0f %% of the time; %s", 100 * share, self.remedy
            )


def remedy(*, on_gpu: bool, in_memory: bool, workers: int) -> str:
    """What to do where reading images is the brake.

    Args:
        on_gpu: Whether the images live on the GPU and are augmented there, without workers.
        in_memory: Whether they are kept in some memory, so that only augmentation is left to do.
        workers: Processes that read and augment already.
    """
    more = f"raise workers above {workers}" if workers else "set workers to about the number of processor cores"
    if on_gpu:
        return "the images live on the GPU already, so it is their augmentation: choose none"
    if in_memory:
        return f"the images are in memory already, so it is their augmentation: {more}, or choose light or none"
    return f"the images do not fit into memory and are read in every epoch: {more}, or store them smaller"
