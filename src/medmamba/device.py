"""Where a model runs: the device of a name, the scan backend that works there, and how exactly it multiplies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import nn

from medmamba.errors import InputError
from medmamba.ops import backend as scans

logger = logging.getLogger(__name__)


def scan_backend(device: torch.device) -> str:
    """Name of the scan backend that runs on a device.

    Raises:
        InputError: One was asked for that cannot run; the message says why.
    """
    try:
        return scans.choose(device.type, scans.requested())
    except scans.BackendError as reason:
        raise InputError(str(reason)) from None


def check_device(name: str) -> torch.device:
    """The device of a name; for `auto` the best one that is there: CUDA, then MPS, then the CPU.

    Raises:
        InputError: There is no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"{name!r} is no device; choose auto, cpu, cuda, cuda:1 or mps") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"the device {name!r} is not supported; choose auto, cpu, cuda, cuda:1 or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"the device {name!r} was asked for, but torch finds {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("the device 'mps' was asked for, but this machine or this torch has none; choose auto or cpu")
    return device


def settle(model: nn.Module, name: str, shape: tuple[int, ...]) -> torch.device:
    """Move a model to the device of a name and return the device.

    MPS lacks some operators, and which ones differs between versions. So what `auto` picked there is tried with one
    forward pass over zeros of `shape` (b, c, h, w), and the CPU takes over, with a warning, if it fails. A device that
    was named is taken as it is.
    """
    device = check_device(name)
    if name == "auto" and device.type == "mps":
        try:
            _try_forward(model, device, shape)
        except (RuntimeError, AssertionError, TypeError) as reason:  # NotImplementedError is a RuntimeError
            logger.warning("the model cannot run on mps (%s); it runs on the CPU instead", reason)
            device = torch.device("cpu")
    model.to(device)
    return device


def _try_forward(model: nn.Module, device: torch.device, shape: tuple[int, ...]) -> None:
    training = model.training
    model.to(device).eval()
    try:
        with torch.no_grad():
            model(torch.zeros(shape, device=device)).cpu()
    finally:
        model.train(training)


class WholeFloat32:
    """Inside a block with this, convolutions and matrix products on CUDA take all 23 bits of the numbers they multiply.

    Convolutions by default, and products where somebody asked for it, take 10 (TF32), and then an answer depends in the
    third digit on how many pictures are asked for together, and differs as much from that of a processor. The switches
    are those of the process: the last thread that leaves its block puts them back, and until then torch refuses to tell
    `torch.backends.cudnn.allow_tf32`, its older name for one of them.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._put_back: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._put_back = [_switch_convolutions(), _switch_products()]
            self._inside += 1

    def __exit__(self, *reason: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for put_back in self._put_back:
                    put_back()


def _switch_convolutions() -> Callable[[], None]:
    """Whole float32 for convolutions; call what is returned to put the switch back."""
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    return partial(setattr, convolutions, "fp32_precision", before)


def _switch_products() -> Callable[[], None]:
    """The same for matrix products, by the name with which TF32 was asked for: torch refuses to mix old and new."""
    products: Any = torch.backends.cuda.matmul
    if products.fp32_precision != "tf32":
        return lambda: None
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # by its new name
        products.fp32_precision = "ieee"
        return partial(setattr, products, "fp32_precision", "tf32")
    torch.set_float32_matmul_precision("highest")
    return partial(torch.set_float32_matmul_precision, before)


WHOLE_FLOAT32 = WholeFloat32()
