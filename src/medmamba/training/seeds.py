"""Randomness as a function of where in a run it is drawn, never a generator that has to be kept and restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# What a draw is for: two purposes never share a seed, whatever the other numbers.
ORDER, AUGMENT, STEP, WEIGHTS, MIX = range(5)


def seed_for(purpose: int, seed: int, *where: int) -> int:
    """A 63-bit seed for one purpose of a run at one place, such as (epoch, index); every argument 0 or more."""
    words = np.random.SeedSequence([purpose, seed, *where]).generate_state(1, np.uint64)
    return int(words[0]) >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside the block torch's CPU generator starts from `seed`; afterwards it goes on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
