"""Where a run meets the end of a memory: less of it by choice, and what to say when it was too much."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from medmamba.errors import InputError
from medmamba.training.config import OutOfMemoryError, TrainConfig, TrainingError

# What torch says on the CPU, what CUDA and MPS say, and CUDA's libraries where the allocator was not asked
_WORDS = re.compile(r"can't allocate memory|out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED")


def checkpoint_activations(net: nn.Module, name: str) -> None:
    """Let a network compute its activations again in the backward pass instead of keeping them, in place.

    Raises:
        InputError: This network cannot.
    """
    try:
        net.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError, TypeError):  # timm's models that cannot answer with an assertion
        raise InputError(
            f"{name} has no gradient checkpointing; leave it out and raise accumulate to save memory"
        ) from None


def is_out_of_memory(reason: BaseException) -> bool:
    """Whether an error says that a device or the host has no memory left."""
    return isinstance(reason, (torch.OutOfMemoryError, MemoryError)) or bool(_WORDS.search(str(reason)))


@contextmanager
def limits_explained(config: TrainConfig, batch_size: int) -> Iterator[None]:
    """Inside the block, running out of memory or into a compiler that fails is a `TrainingError` of one sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as reason:
        if is_out_of_memory(reason):
            raise OutOfMemoryError(out_of_memory(config, batch_size)) from reason
        if config.compile and type(reason).__module__.startswith(("torch._dynamo", "torch._inductor")):
            first = next(iter(str(reason).splitlines()), type(reason).__name__)
            raise TrainingError(f"torch.compile failed ({first}): leave compile out") from reason
        raise


def more_parts(config: TrainConfig, batch_size: int) -> int | None:
    """Twice the parts of a batch, or as many as leave 2 images in each; None where these are too few already."""
    most = batch_size // (2 * config.devices * config.nodes)
    return min(2 * config.accumulate, most) if config.accumulate < most else None


def out_of_memory(config: TrainConfig, batch_size: int) -> str:
    """What happened and what to change, for a run with these options."""
    height, width = config.image_size
    ways = []
    if more := more_parts(config, batch_size):
        ways.append(f"raise accumulate from {config.accumulate} to {more}")
    if not config.checkpointing:
        ways.append("switch checkpointing on")
    ways += [f"lower the batch size from {batch_size}", f"lower the image size from {height} x {width}"]
    return (
        f"out of memory with batches of {batch_size} images of {height} x {width} pixels in {config.accumulate} "
        f"part{'s' * (config.accumulate > 1)}: {', or '.join(ways)} "
        "(accumulate and checkpointing may also be given with resume)"
    )
