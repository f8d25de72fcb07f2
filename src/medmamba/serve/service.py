"""A trained model that answers many callers at once. No HTTP here.

Pictures are decoded by a few threads, from bytes by the code that reads files, and go through the network in batches,
in one thread. What one picture is answered does not depend on the others.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from medmamba.card import card as card_of
from medmamba.data.reading import read_image
from medmamba.data.source import ImageBytes
from medmamba.errors import InputError
from medmamba.predictor import Classifier, Prediction
from medmamba.serve.batching import Batcher

if TYPE_CHECKING:
    from medmamba.explain.maps import HeatMapper

T = TypeVar("T")

MAX_PIXELS = 32_000_000  # of one picture: more than any X-ray detector has; one takes up to about 1 GB while it is read
READERS = 4  # threads that decode, at most
AT_WORK = 64  # pictures between decoding and answer
COLOURS = "safe"  # of heat maps, for colour-blind readers too
LARGEST_MAP = 2048  # pixels of a heat map's longer side; for larger pictures it is enlarged


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
        ready: Whether it has answered once.
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
        self.ready = False
        self._readers = ThreadPoolExecutor(max(1, min(READERS, cores())), thread_name_prefix="medmamba-read")
        self._at_work = asyncio.Semaphore(AT_WORK)
        self._mapper: HeatMapper | None = None

    def warm_up(self) -> None:
        """Send one black picture through the network, which compiles and loads what the first one needs."""
        shape = self.classifier.bundle.preprocessing
        self.batches.put(np.zeros((shape.channels, shape.height, shape.width), np.uint8)).result()
        self.ready = True

    def close(self) -> None:
        """Finish what was asked for, and end the threads."""
        self.ready = False
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
        from medmamba.explain.pictures import check_colours
        from medmamba.explain.run import class_index, predicted

        check_colours(COLOURS)
        bundle = self.classifier.bundle
        asked = None if target is None else class_index(bundle, target)
        async with self._at_work:
            picture, pixels = await self._read(image)
            if asked is None:
                scores, _ = await asyncio.wrap_future(self.batches.put(pixels))
                asked = int(predicted(bundle, scores[None])[0])
            chosen = asked
            raw = await asyncio.wrap_future(self.batches.run(lambda: self._raw_map(pixels, chosen)))
            png = await self._in_readers(lambda: self._painted(raw, picture))
        return png, bundle.classes[chosen]

    async def picture(self, image: ImageBytes) -> bytes:
        """One image as the model reads it, before it is resized, as PNG.

        Raises:
            InputError: It cannot be read.
        """
        async with self._at_work:
            picture, _ = await self._read(image)
            return await self._in_readers(lambda: _png(picture))

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

    def _painted(self, raw: Sequence[np.ndarray], picture: np.ndarray) -> bytes:
        from medmamba.explain.maps import map_of
        from medmamba.explain.pictures import layer

        height, width = picture.shape[:2]
        scale = min(1.0, LARGEST_MAP / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        heat = map_of(raw, self.classifier.bundle.preprocessing, picture, size)
        return _png(layer(heat, COLOURS), (width, height))


def _png(pixels: np.ndarray, size: tuple[int, int] | None = None) -> bytes:
    """As a PNG file, quickly rather than small, enlarged to (width, height) where that is given."""
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    if size is not None and size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spare_a_core() -> None:
    """Let torch leave one core to the threads that receive and decode."""
    if torch := sys.modules.get("torch"):  # an exported file runs without it
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores() - 1)))
