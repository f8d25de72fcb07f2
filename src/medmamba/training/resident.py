"""Batches of a split that lives on the GPU: gathered and augmented there, with nothing to wait for in a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medmamba.data.batch_augment import BATCH_AUGMENTATIONS
from medmamba.training.order import EpochBatches, FixedBatches
from medmamba.training.seeds import AUGMENT, seed_for

if TYPE_CHECKING:
    from medmamba.training.loader import Batch


class ResidentBatches:
    """The batches of a sampler from tensors on one device.

    Order and random numbers of a whole epoch are drawn at its start on the processor, each in one call, and sent to the
    device at once. The numbers of an image are a row of a table that depends on (seed, epoch) alone: so they are a
    function of (seed, epoch, key), for any batch size and any number of processes. They are other numbers than those
    of the loader, which seeds a generator for each image.
    """

    def __init__(
        self, pixels: Tensor, targets: Tensor, batches: EpochBatches | FixedBatches, *, augment: str, seed: int
    ) -> None:
        """Prepare.

        Args:
            pixels: Of all images of the split, uint8 (n, c, h, w).
            targets: Of all images, (n,) or (n, classes), on the same device.
            batches: Which images, in which order.
            augment: A name in `BATCH_AUGMENTATIONS`.
            seed: Of the augmentation.
        """
        self.pixels = pixels
        self.targets = targets
        self.batches = batches
        self.augmentation = BATCH_AUGMENTATIONS[augment]
        self.seed = seed

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """(pixels (b, c, h, w) uint8, targets, indices (b,)), all on the device."""
        keys = list(self.batches)
        if not keys:  # a process may have no share of a small validation split
            return
        epoch = keys[0][0][0]
        numbers = self._numbers(epoch).to(self.pixels.device)
        images, draws_of = zip(*((key[1], key[-1]) for batch in keys for key in batch), strict=True)
        order, drawn = torch.tensor([images, draws_of]).to(self.pixels.device)
        sizes = [len(batch) for batch in keys]
        for rows, draws in zip(order.split(sizes), drawn.split(sizes), strict=True):
            yield self.augmentation.change(self.pixels[rows], numbers[draws]), self.targets[rows], rows

    def _numbers(self, epoch: int) -> Tensor:
        """The random numbers of every image in one epoch, (n, numbers of the augmentation), in [0, 1)."""
        generator = torch.Generator().manual_seed(seed_for(AUGMENT, self.seed, epoch))
        return torch.rand(len(self.pixels), self.augmentation.numbers, generator=generator)
