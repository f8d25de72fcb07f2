"""Where and how precisely a run computes, decided and refused before any data is read."""

from __future__ import annotations

import torch

from medmamba.errors import InputError
from medmamba.training.config import TrainConfig


def choose_precision(name: str, device: torch.device) -> str:
    """Lightning's name of the precision to train in.

    Args:
        name: One of `medmamba.training.config.PRECISIONS`.
        device: Where the run computes.

    Raises:
        InputError: The device cannot train in it.
    """
    cuda = device.type == "cuda"
    if name == "auto":
        return "bf16-mixed" if cuda and _has_bfloat16(device) else "32-true"
    if name == "16-mixed" and not cuda:
        raise InputError(f"precision 16-mixed needs a CUDA device and this run is on {device.type}; choose auto or 32")
    if name == "bf16-mixed" and device.type == "mps":
        raise InputError("precision bf16-mixed does not work on mps; choose auto or 32")
    if name == "bf16-mixed" and cuda and not _has_bfloat16(device):
        raise InputError("precision bf16-mixed needs a GPU that computes in bfloat16; choose auto, 32 or 16-mixed")
    if name == "64" and device.type == "mps":
        raise InputError("precision 64 does not work on mps; choose auto or 32")
    return {"32": "32-true", "64": "64-true"}.get(name, name)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a CUDA device computes in bfloat16; cards of one machine may differ, and torch asks the current one."""
    if device.index is None:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def describe_device(device: torch.device) -> str:
    """The kind of device in words, without any name of the machine."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def check_processes(config: TrainConfig, device: torch.device, batch_size: int) -> None:
    """Raise `InputError` if the run cannot have the processes that it asks for."""
    processes = config.devices * config.nodes
    if processes > 1 and device.type == "mps":
        raise InputError(f"mps trains in one process, not in {processes}; leave devices at 1")
    if config.devices > 1 and device.index is not None:
        raise InputError(f"the device {config.device!r} is a single one, not {config.devices}; say cuda, or devices 1")
    if device.type == "cuda" and config.devices > torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise InputError(f"{config.devices} devices were asked for, but torch finds {there} CUDA devices")
    if config.halve and processes > 1:
        raise InputError(f"halve is not possible with {processes} processes, only with one; raise accumulate instead")
    least = 2 * processes * config.accumulate
    if batch_size < least:
        where = f"{processes} processes" + f" and {config.accumulate} parts in each" * (config.accumulate > 1)
        raise InputError(
            f"batch size {batch_size} is too small for {where}; "
            f"batch normalisation needs 2 images in each, so give {least} or more"
        )
