"""Batches: where the images are kept, and how they get from there to the device.

A split is read and resized once and kept as one uint8 tensor. Where, decides who augments:

- on the GPU, if it fits in `SHARE` of its memory and the augmentation can take whole batches: then batches are gathered
  and augmented there (`resident.py`), and nothing crosses to the GPU in a step;
- in the memory of the host (`MEMORY` bytes) otherwise: then images are augmented one by one on the processor, in the
  training process or in worker processes, and batches are copied to the device; on the CPU this is the only way;
- nowhere if it is too large: then as in the second case, but each image is read and resized again in every epoch, from
  its file or from an array that is mapped from disk.

Images are resized on the processor in all three, by the bundle's preprocessing, so that training sees the pixels that
prediction sees; normalisation is part of the step, on the device.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medmamba.data.arrays import amount, in_words
from medmamba.data.augment import AUGMENTATIONS
from medmamba.data.batch_augment import BATCH_AUGMENTATIONS
from medmamba.data.dataset import Pictures
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import InputError
from medmamba.training.order import EpochBatches, FixedBatches, Key
from medmamba.training.resident import ResidentBatches
from medmamba.training.seeds import AUGMENT, seed_for, seeded

logger = logging.getLogger(__name__)

MEMORY = 2 * 1024**3  # bytes of uint8 pixels that a process keeps; more are read from the files in every epoch
SHARE = 0.1  # of the memory of a GPU for the pixels of one split; the rest is for the training step
_READERS = 4
_HOST = torch.device("cpu")

Batch = tuple[Tensor, Tensor, Tensor]  # pixels (b, c, h, w) uint8, targets (b,) or (b, ...), indices (b,)


class Images(Dataset[tuple[Tensor, Tensor, int]]):
    """One split as tensors: item (epoch, index) -> pixels (c, h, w) uint8, target, index.

    The key holds the epoch because augmentation depends on it: so a worker process needs to know nothing else. What is
    drawn for it depends on the epoch and the key's last number.

    Attributes:
        cache: Pixels of all images, uint8 (n, c, h, w), on the host or on the GPU; None if they are too many.
        source: Where they are read from in every epoch then.
        targets: Of all images, (n,) or (n, classes), where `cache` is.
    """

    def __init__(
        self,
        images: Pictures,
        preprocessing: Preprocessing,
        *,
        augment: str = "none",
        seed: int = 0,
        device: torch.device = _HOST,
    ) -> None:
        """Read every image once.

        Args:
            images: The split.
            preprocessing: Of the bundle.
            augment: Name of an augmentation.
            seed: Of the augmentation.
            device: Where the training step is computed.

        Raises:
            InputError: An image cannot be read, and the message names it; or the GPU has no room. Nothing has been
                trained by then.
        """
        self.count = len(images)
        self.preprocessing = preprocessing
        self.augment = augment
        self.seed = seed
        home = _home(images, preprocessing, augment, device)
        self.cache = _read_all(images, preprocessing, home)
        self.source = images if self.cache is None else None  # else it need not stay, nor go to worker processes
        self.targets = torch.from_numpy(np.ascontiguousarray(images.targets)).to(home or _HOST)
        self._change = None if augment == "none" else AUGMENTATIONS[augment]()

    def __len__(self) -> int:
        return self.count

    @property
    def resident(self) -> bool:
        """Whether the images live on the GPU, where they can be gathered and augmented in batches."""
        return self.cache is not None and self.cache.device.type != "cpu"

    def where(self) -> str:
        """Where the images are during training and how much of the memory they take, in words."""
        if self.cache is not None:
            place = "on the GPU" if self.resident else "in memory"
            return f"{amount(self.cache.nbytes)} {place}"
        assert self.source is not None
        array = self.source.array
        return f"{'in their files' if array is None else in_words(array)}, read in every epoch"

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor, int]:
        epoch, index, drawn = key[0], key[1], key[-1]
        if self.cache is not None:
            pixels = self.cache[index]
        else:
            pixels = torch.from_numpy(self._read_again(index))
        if self._change is not None:
            with seeded(seed_for(AUGMENT, self.seed, epoch, drawn)):
                pixels = self._change(pixels)
        return pixels, self.targets[index], index

    def _read_again(self, index: int) -> np.ndarray:
        assert self.source is not None
        shape = self.preprocessing
        return shape.pixels(self.source.read(index, shape.reading, tell=False))  # told when all were read once


def _shape(images: Pictures, preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    return (len(images), preprocessing.channels, preprocessing.height, preprocessing.width)


def _home(images: Pictures, preprocessing: Preprocessing, augment: str, device: torch.device) -> torch.device | None:
    """Where the pixels of a split are kept, or None if they are too many; the log says so for a GPU.

    The memory that is free at the moment is not asked for: a resumed run and every process of a run must decide alike,
    since images draw other numbers for their augmentation on the GPU than on the host.
    """
    size = math.prod(_shape(images, preprocessing))
    if device.type == "cuda":
        room = SHARE * torch.cuda.mem_get_info(device)[1]
        why = f"{len(images)} images as {size / 1e6:.0f} MB of pixels"
        if augment not in BATCH_AUGMENTATIONS:
            logger.info("%s stay on the host: the augmentation %s works image by image", why, augment)
        elif size > room:
            logger.info("%s stay on the host: more than %.0f %% of the GPU's memory", why, 100 * SHARE)
        else:
            logger.info("%s live on the GPU and are augmented there (%s)", why, augment)
            return device
    return _HOST if size <= MEMORY else None


def _read_all(images: Pictures, preprocessing: Preprocessing, home: torch.device | None) -> Tensor | None:
    """Every image as uint8 (n, c, h, w) in its home, or None if there is none (but all could be read)."""
    if home is None and images.array is not None:
        return None  # an array that could be opened can be read
    if home is None:
        logger.info("%d images do not fit into memory: reading each once to check it, then in every epoch", len(images))
    pixels = None if home is None else _space(_shape(images, preprocessing), home)

    def read(index: int) -> np.ndarray | None:
        image = images.read(index, preprocessing.reading)
        return None if pixels is None else preprocessing.pixels(image)

    console = Console(stderr=True)
    shown = partial(track, console=console, transient=True, disable=not console.is_terminal)
    with ThreadPoolExecutor(_READERS) as pool:
        for index, image in enumerate(shown(pool.map(read, range(len(images))), "reading images", total=len(images))):
            if pixels is not None and image is not None:
                pixels[index] = torch.from_numpy(image)
    return pixels


def _space(shape: tuple[int, ...], home: torch.device) -> Tensor:
    try:
        return torch.empty(shape, dtype=torch.uint8, device=home)
    except torch.OutOfMemoryError:
        raise InputError(
            f"the GPU has no room for {shape[0]} images as {math.prod(shape) / 1e6:.0f} MB of pixels: "
            "end what else uses its memory, or give another device"
        ) from None


def make_loader(images: Images, batches: EpochBatches | FixedBatches, *, workers: int, pinned: bool) -> Iterable[Batch]:
    """Batches in the order of the sampler: from the host for any number of workers, or from the GPU without any."""
    if images.resident:
        assert images.cache is not None
        return ResidentBatches(images.cache, images.targets, batches, augment=images.augment, seed=images.seed)
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pinned,
        generator=torch.Generator(),  # workers' base seeds: drawn here, not from the generator that drop path uses
    )
