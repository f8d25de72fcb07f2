"""Which images make a batch, in which order: a function of (seed, epoch), for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from medmamba.training.seeds import ORDER, seed_for

Key = tuple[int, int]  # (epoch, index)


class EpochBatches(Sampler[list[Key]]):
    """The batches of one process in each epoch, drawn from batches that are the same for any number of processes.

    The order is a permutation from a generator seeded by (seed, epoch). Batches of `batch_size` are cut from it, and
    process r of w takes every w-th image of each, from the r-th on. Where gradients are accumulated, its share comes in
    `parts` parts, one after the other. A left-over with fewer than 2 images for each part of each process, which batch
    normalisation could not use, is added to the batch before.

    Attributes:
        epoch: The one whose batches an iteration gives, from 0 over the whole run; whoever iterates sets it.
        parts: What an iteration gives of each batch, one after the other.
        sizes: Images in each batch of an epoch over all processes and parts.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        parts: int = 1,
        epoch: int = 0,
    ) -> None:
        self.n = n
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.parts = parts
        self.epoch = epoch
        self.sizes = batch_sizes(n, batch_size, processes * parts)

    def __len__(self) -> int:
        return len(self.sizes) * self.parts

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(seed_for(ORDER, self.seed, self.epoch))
        order = torch.randperm(self.n, generator=generator).tolist()
        epoch, start = self.epoch, 0
        for size in self.sizes:
            mine = order[start : start + size][self.rank :: self.processes]
            for part in range(self.parts):
                yield [(epoch, index) for index in mine[part :: self.parts]]
            start += size


def batch_sizes(n: int, batch_size: int, processes: int = 1) -> list[int]:
    """Sizes of an epoch's batches over all processes (times the parts of each); they add up to n."""
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
