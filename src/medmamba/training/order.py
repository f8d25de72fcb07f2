"""Which images make a batch, in which order: a function of (seed, epoch), for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from medmamba.training.seeds import ORDER, seed_for

# (epoch, index), and for an image that was drawn before in the epoch (epoch, index, other): the last number says whose
# random numbers its augmentation takes
Key = tuple[int, ...]


class EpochBatches(Sampler[list[Key]]):
    """The batches of one process in each epoch, drawn from batches that are the same for any number of processes.

    The order is a permutation from a generator seeded by (seed, epoch), or a draw of as many images in which each class
    is equally frequent, or has a share that was given. Batches of `batch_size` are cut from it, and
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
        balance: np.ndarray | None = None,
        shares: Sequence[float] | None = None,
    ) -> None:
        """Prepare.

        Args:
            n: Images of the split.
            batch_size: Over all processes and parts.
            seed: Of the run.
            rank: This process.
            processes: Their number.
            parts: As above.
            epoch: The first.
            balance: Class of each image, (n,), to draw each class equally often; None to take each image once.
            shares: Of an epoch's images, one for each class present in `balance`, where not equal; their sum is 1.
        """
        self.n = n
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.parts = parts
        self.epoch = epoch
        self.balance = None if balance is None else torch.from_numpy(np.ascontiguousarray(balance))
        self.shares = shares
        self.sizes = batch_sizes(n, batch_size, processes * parts)

    def __len__(self) -> int:
        return len(self.sizes) * self.parts

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(seed_for(ORDER, self.seed, self.epoch))
        order: list[Key]
        if self.balance is None:
            order = [(self.epoch, index) for index in torch.randperm(self.n, generator=generator).tolist()]
        else:
            order = _keys(self.epoch, balanced_order(self.balance, generator, self.shares).tolist())
        start = 0
        for size in self.sizes:
            mine = order[start : start + size][self.rank :: self.processes]
            for part in range(self.parts):
                yield mine[part :: self.parts]
            start += size


def balanced_order(classes: Tensor, generator: torch.Generator, shares: Sequence[float] | None = None) -> Tensor:
    """As many indices as there are images, (n,), in which the counts of the classes present differ by at most one.

    With shares given, the counts are those shares of n instead, each but for less than one image. Of a class with more
    images than its share, some are left out, others in the next epoch; one with fewer is gone through several times, so
    that the counts of its images differ by at most one too. Where the shares are not whole, it is drawn which classes
    have one more.

    Args:
        classes: Of each image, (n,).
        generator: Of all that is drawn.
        shares: Of the classes present, in the order of their numbers; None for equal ones.
    """
    n, present = len(classes), classes.unique()
    least = torch.tensor([n // len(present)] * len(present) if shares is None else [int(n * each) for each in shares])
    longer = torch.randperm(len(present), generator=generator) < n - least.sum()
    parts = []
    for name, share in zip(present, (least + longer).tolist(), strict=True):
        members = (classes == name).nonzero().flatten()
        rounds = -(-share // len(members))
        orders = torch.rand(rounds, len(members), generator=generator).argsort(dim=1, stable=True)
        parts.append(members[orders.flatten()[:share]])
    return torch.cat(parts)[torch.randperm(n, generator=generator)]


def _keys(epoch: int, order: list[int]) -> list[Key]:
    """Keys of an order in which images repeat.

    A repeated image would be augmented the same way each time. As many draws repeat an image as there are images that
    are not drawn, so each of them takes the random numbers of one of those.
    """
    left_out = iter(sorted(set(range(len(order))).difference(order)))
    seen: set[int] = set()
    keys: list[Key] = []
    for index in order:
        keys.append((epoch, index, next(left_out)) if index in seen else (epoch, index))
        seen.add(index)
    return keys


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
        mine: list[Key] = [(0, index) for index in range(rank, n, processes)]
        self.batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)
