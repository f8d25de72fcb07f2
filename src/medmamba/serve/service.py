"""A trained model that answers many callers at once. No HTTP here.

Pictures are decoded by a few threads, from bytes by the code that reads files, and go through the network in batches,
in one thread. What one picture is answered does not depend on the others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from medmamba.card import card as card_of
from medmamba.data.reading import read_image
from medmamba.data.source import ImageBytes
from medmamba.errors import InputError
from medmamba.predictor import Classifier, Prediction
from medmamba.serve.batching import Batcher
from medmamba.serve.showing import can_explain, map_png, picture_png, require_maps

if TYPE_CHECKING:
    from medmamba.explain.maps import HeatMapper

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_PIXELS = 32_000_000  # of one picture, which takes up to 20 bytes for each of them while it is read
READERS = 4  # threads that decode, at most
AT_WORK = 64  # pictures between decoding and answer, in the size of the network's input
WHOLE = 4  # pictures that are kept whole, for heat maps and to be shown


@dataclass(frozen=True)
class Answer:
    """What is said of one image.

    Attributes:
        prediction: As `Classifier.predict` gives it.
        width: Columns of the picture as it was read; None if it was not.
        height: Rows.
        reason: Why it could not be read.
    """

    prediction: Prediction
    width: int | None = None
    height: int | None = None
    reason: InputError | None = None


class Service:
    """A model at work.

    Attributes:
        classifier: The model.
        batches: Its thread.
        card: Its card, Markdown.
        reading: How images are read.
        ready: Whether it has answered once and, where there are heat maps, made one.
        explains: Whether there are heat maps.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        card: str | None = None,
        max_pixels: int = MAX_PIXELS,
        batches: Batcher | None = None,
    ) -> None:
        """Start the threads; `warm_up` before the first caller comes.

        Args:
            classifier: The model.
            card: Its card, Markdown; by default what can be told from its bundle.
            max_pixels: Larger pictures are refused before they are decoded, also where the model allows them.
            batches: Its thread, of `classifier.examined`, if it shall be another than by default.
        """
        reading = classifier.bundle.preprocessing.reading
        self.classifier = classifier
        self.reading = replace(reading, max_pixels=min(reading.max_pixels, max_pixels))
        self.batches = batches or Batcher(classifier.examined)
        self.card = card if card is not None else card_of(classifier.bundle)
        self.ready = self._closed = False
        self.explains = can_explain(classifier)
        self._readers = ThreadPoolExecutor(max(1, min(READERS, cores())), thread_name_prefix="medmamba-read")
        self._at_work, self._whole = asyncio.Semaphore(AT_WORK), asyncio.Semaphore(WHOLE)
        self._mapper: HeatMapper | None = None

    def warm_up(self) -> Future[None]:
        """Let the network answer for a black picture and explain one, which loads and compiles what callers need.

        Returns:
            The answer's end; it raises what went wrong. Whoever asks in the meantime waits for it.
        """
        answered: Future[None] = self.batches.run(self._first_answer)
        answered.add_done_callback(self._then_explain)
        return answered

    @property
    def works(self) -> bool:
        """Whether what is asked for will be answered."""
        return not self._closed and self.batches.alive

    def close(self) -> None:
        """Finish what was asked for, and end the threads."""
        self.ready, self._closed = False, True
        self._readers.shutdown()
        self.batches.close()

    async def predict(self, images: Sequence[ImageBytes]) -> list[Answer]:
        """An answer for each image, also for those that cannot be read."""
        return await asyncio.gather(*(self._answer(image) for image in images))

    async def explain(self, image: ImageBytes, target: str | None = None) -> tuple[bytes, str]:
        """The heat map of one image, a PNG of its size to be laid over it, and the class that is explained.

        Args:
            image: The image.
            target: Class by name; by default the one that is answered.

        Raises:
            InputError: The image cannot be read, there is no such class, or the model or this installation has no maps.
        """
        await self._in_readers(require_maps)
        from medmamba.explain.run import class_index, predicted  # which is loaded by now, and does not hold up others

        bundle = self.classifier.bundle
        asked = None if target is None else class_index(bundle, target)
        async with self._whole:
            picture, pixels = await self._read(image)
            if asked is None:
                scores, _ = await asyncio.wrap_future(self.batches.put(pixels))
                asked = int(predicted(bundle, scores[None])[0])
            chosen = asked
            raw = await asyncio.wrap_future(self.batches.run(lambda: self._raw_map(pixels, chosen)))
            png = await self._in_readers(lambda: map_png(raw, bundle.preprocessing, picture))
        return png, bundle.classes[chosen]

    async def picture(self, image: ImageBytes) -> bytes:
        """One image as the model reads it, before it is resized for it, as PNG; see `picture_png`.

        Raises:
            InputError: It cannot be read.
        """
        async with self._whole:
            picture, _ = await self._read(image)
            return await self._in_readers(lambda: picture_png(picture))

    async def _answer(self, image: ImageBytes) -> Answer:
        async with self._at_work:
            try:
                picture, pixels = await self._read(image)
            except InputError as reason:
                return Answer(Prediction(image.name, None, error=str(reason)), reason=reason)
            height, width = picture.shape[:2]
            del picture
            scores, strange = await asyncio.wrap_future(self.batches.put(pixels))
        prediction = self.classifier.predictions([image.name], scores[None], strange[None])[0]
        return Answer(prediction, width, height)

    async def _read(self, image: ImageBytes) -> tuple[np.ndarray, np.ndarray]:
        """The picture as it is, and as it reaches the network. Nothing is told: the log must not name images."""

        def read() -> tuple[np.ndarray, np.ndarray]:
            picture = read_image(image, self.reading, tell=False)
            return picture, self.classifier.bundle.preprocessing.pixels(picture)

        return await self._in_readers(read)

    async def _in_readers(self, function: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._readers.submit(function))

    def _raw_map(self, pixels: np.ndarray, target: int) -> list[np.ndarray]:
        """In the network's thread: of each layer (rows, columns)."""
        from medmamba.explain.maps import HeatMapper, network_of

        if self._mapper is None:
            self._mapper = HeatMapper(self.classifier.bundle, network_of(self.classifier))
        return [layer[0] for layer in self._mapper.raw(pixels[None], np.array([target]))]

    def _blank(self) -> np.ndarray:
        shape = self.classifier.bundle.preprocessing
        return np.zeros((shape.channels, shape.height, shape.width), np.uint8)

    def _first_answer(self) -> None:
        self.classifier.examined(self._blank()[None])

    def _first_map(self) -> None:
        try:
            require_maps()
            self._raw_map(self._blank(), 0)
        except InputError as reason:  # a network without layers that have maps; predictions need none
            logger.warning("there will be no heat maps: %s", reason)
            self.explains = False
        self.ready = True

    def _then_explain(self, answered: Future[None]) -> None:
        if answered.exception() is None:
            if self.explains:
                self.batches.run(self._first_map)
            else:
                self.ready = True


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spare_a_core() -> None:
    """Let torch leave one core to the threads that receive and decode."""
    if torch := sys.modules.get("torch"):  # an exported file runs without it
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores() - 1)))
