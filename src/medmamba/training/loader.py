"""Batches: which images, in which order, read how. Everything here is a function of (seed, epoch, index)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medmamba.data.augment import AUGMENTATIONS
from medmamba.data.dataset import ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.training.seeds import AUGMENT, ORDER, seed_for, seeded

logger = logging.getLogger(__name__)

MEMORY = 2 * 1024**3  # bytes of uint8 pixels that a process keeps; more are read from the files in every epoch
_READERS = 4

Key = tuple[int, int]  # (epoch, index)
Batch = tuple[Tensor, Tensor, Tensor]  # pixels (b, c, h, w) uint8, targets (b,) or (b, classes), indices (b,)


class Images(Dataset[tuple[Tensor, Tensor, int]]):
    """One split as tensors: item (epoch, index) -> pixels (c, h, w) uint8, target, index.

    The key holds the epoch because augmentation depends on it: so a worker process needs to know nothing else.
    """

    def __init__(self, images: ImageSet, preprocessing: Preprocessing, *, augment: str = "none", seed: int = 0) -> None:
        """Read every image once.

        Raises:
            InputError: An image cannot be read; the message names it. Nothing has been trained by then.
        """
        self.images = images
        self.preprocessing = preprocessing
        self.augment = augment
        self.seed = seed
        self.targets = torch.from_numpy(np.ascontiguousarray(images.targets))
        self.cache = _read_all(images, preprocessing)
        self._change = None if augment == "none" else AUGMENTATIONS[augment]()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor, int]:
        epoch, index = key
        if self.cache is not None:
            pixels = self.cache[index]
        else:
            pixels = torch.from_numpy(self.preprocessing.pixels(self.images.read(index)))
        if self._change is not None:
            with seeded(seed_for(AUGMENT, self.seed, epoch, index)):
                pixels = self._change(pixels)
        return pixels, self.targets[index], index


def _read_all(images: ImageSet, preprocessing: Preprocessing) -> Tensor | None:
    """Every image as uint8 (n, c, h, w), or None if they are too many to keep (but all could be read)."""
    shape = (len(images), preprocessing.channels, preprocessing.height, preprocessing.width)
    keep = int(np.prod(shape)) <= MEMORY
    if not keep and images.array is not None:
        return None  # an array that could be opened can be read
    if not keep:
        logger.info("%d images do not fit into memory: reading each once to check it, then in every epoch", len(images))
    pixels = np.empty(shape, np.uint8) if keep else None

    def read(index: int) -> None:
        image = images.read(index)
        if pixels is not None:
            pixels[index] = preprocessing.pixels(image)

    console = Console(stderr=True)
    shown = partial(track, console=console, transient=True, disable=not console.is_terminal)
    with ThreadPoolExecutor(_READERS) as pool:
        for _ in shown(pool.map(read, range(len(images))), "reading images", total=len(images)):
            pass
    return None if pixels is None else torch.from_numpy(pixels)


class EpochBatches(Sampler[list[Key]]):
    """The batches of one process in each epoch, drawn from batches that are the same for any number of processes.

    The order is a permutation from a generator seeded by (seed, epoch). Batches of `batch_size` are cut from it, and
    process r of w takes every w-th image of each, from the r-th on. A left-over with fewer than 2 images a process,
    which batch normalisation could not use, is added to the batch before.

    Attributes:
        epoch: The one whose batches an iteration gives, from 0 over the whole run; whoever iterates sets it.
        sizes: Images in each batch of an epoch over all processes.
    """

    def __init__(
        self, n: int, batch_size: int, *, seed: int, rank: int = 0, processes: int = 1, epoch: int = 0
    ) -> None:
        self.n = n
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.epoch = epoch
        self.sizes = batch_sizes(n, batch_size, processes)

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(seed_for(ORDER, self.seed, self.epoch))
        order = torch.randperm(self.n, generator=generator).tolist()
        epoch, start = self.epoch, 0
        for size in self.sizes:
            batch = order[start : start + size]
            yield [(epoch, index) for index in batch[self.rank :: self.processes]]
            start += size


def batch_sizes(n: int, batch_size: int, processes: int = 1) -> list[int]:
    """Sizes of an epoch's batches over all processes; they add up to n."""
    sizes = [min(batch_size, n - start) for start in range(0, n, batch_size)]
    if len(sizes) > 1 and sizes[-1] < 2 * processes:
        last = sizes.pop()
        sizes[-1] += last
    return sizes


class FixedBatches(Sampler[list[Key]]):
    """Every image of a split once, in order: process r of w takes the r-th, then each w-th after it, none twice."""

    def __init__(self, n: int, batch_size: int, *, rank: int = 0, processes: int = 1) -> None:
        mine = [(0, index) for index in range(rank, n, processes)]
        self.batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)


def make_loader(images: Images, batches: EpochBatches | FixedBatches, *, workers: int, pinned: bool) -> Iterable[Batch]:
    """A loader of batches, in the order of the sampler for any number of workers."""
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pinned,
        generator=torch.Generator(),  # workers' base seeds: drawn here, not from the generator that drop path uses
    )
