"""Pictures that arrive together go through the network together, in one thread.

The thread is the only one that runs the network, so that a heat map, which hooks into its layers, never meets a
prediction.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MOST = 32  # pictures in a batch
WAIT = 0.005  # seconds that the first picture of a batch waits for others


@dataclass(frozen=True)
class _Picture:
    pixels: np.ndarray
    future: Future[tuple[np.ndarray, ...]] = field(default_factory=Future)


@dataclass(frozen=True)
class _Work:
    function: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


class _End:
    """No more will come."""


class Batcher:
    """One thread that answers for pictures, several at once.

    Attributes:
        batches: How often the network was asked.
        pictures: Of how many pictures.
    """

    def __init__(
        self, answer: Callable[[np.ndarray], Sequence[np.ndarray]], *, most: int = MOST, wait: float = WAIT
    ) -> None:
        """Start the thread.

        Args:
            answer: Of pictures (b, c, h, w), all of one shape: arrays with a row for each.
            most: Pictures at once.
            wait: Seconds that the first waits for others.
        """
        self.batches = self.pictures = 0
        self._answer, self._most, self._wait = answer, most, wait
        self._queue: queue.SimpleQueue[_Picture | _Work | _End] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="medmamba-network", daemon=True)
        self._thread.start()

    def put(self, pixels: np.ndarray) -> Future[tuple[np.ndarray, ...]]:
        """Ask for the rows of one picture (c, h, w); cancelled before its batch begins, it takes no part in it."""
        picture = _Picture(pixels)
        self._queue.put(picture)
        return picture.future

    def run(self, function: Callable[[], Any]) -> Future[Any]:
        """Call a function in the thread, between two batches."""
        work = _Work(function)
        self._queue.put(work)
        return work.future

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Answer what was asked for, and end the thread."""
        self._queue.put(_End())
        self._thread.join()

    def _work(self) -> None:
        following: _Picture | _Work | _End | None = None
        while True:
            first = following or self._queue.get()
            following = None
            if isinstance(first, _End):
                return
            if isinstance(first, _Work):
                self._run(first)
            else:
                batch, following = self._gather(first)
                self._ask(batch)

    def _gather(self, first: _Picture) -> tuple[list[_Picture], _Work | _End | None]:
        """A batch, and what came that is no picture."""
        batch, until = [first], time.monotonic() + self._wait
        while len(batch) < self._most:
            try:
                item = self._queue.get(timeout=max(0, until - time.monotonic()))
            except queue.Empty:
                break
            if not isinstance(item, _Picture):
                return batch, item
            batch.append(item)
        return batch, None

    def _ask(self, batch: Sequence[_Picture]) -> None:
        wanted = [picture for picture in batch if picture.future.set_running_or_notify_cancel()]
        if not wanted:
            return
        self.batches, self.pictures = self.batches + 1, self.pictures + len(wanted)
        try:
            columns = self._answer(np.stack([picture.pixels for picture in wanted]))
        except Exception as reason:  # whatever it is, those who wait must hear of it, and the thread goes on
            for picture in wanted:
                picture.future.set_exception(reason)
            return
        for row, picture in enumerate(wanted):
            picture.future.set_result(tuple(column[row] for column in columns))

    def _run(self, work: _Work) -> None:
        if not work.future.set_running_or_notify_cancel():
            return
        try:
            result = work.function()
        except Exception as reason:  # as above
            work.future.set_exception(reason)
        else:
            work.future.set_result(result)
