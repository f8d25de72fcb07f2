"""What a benchmark is asked: defaults filled in, and refused before anything is measured if it cannot be done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from medmamba.device import check_device
from medmamba.errors import InputError, suggest
from medmamba.export.program import require_onnx
from medmamba.training.precision import choose_precision

# `graph` means that the work is recorded in a CUDA graph and replayed; the first word, how the kernels come about;
# `onnx` is what `medmamba export` writes, run by onnxruntime
ONNX = "onnx"
TORCH_MODES = ("eager", "compile", "graph", "compile+graph")
MODES = (*TORCH_MODES, ONNX)
PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_OTHER_NAMES = ("auto", "32")


@dataclass(frozen=True)
class Defaults:
    """What is measured on a kind of device unless something else is asked for."""

    models: tuple[str, ...]
    modes: tuple[str, ...]
    batch_size: int
    image_size: tuple[int, int]


DEFAULTS = {
    "cuda": Defaults(
        ("convnext_tiny", "medmamba_tiny", "swin_tiny_patch4_window7_224", "resnet50"), TORCH_MODES, 128, (224, 224)
    ),
    "cpu": Defaults(("resnet18", "medmamba_nano"), ("eager",), 8, (64, 64)),
}


@dataclass(frozen=True)
class Plan:
    """A benchmark that can be done.

    Attributes:
        models: Names; the first is what the others are compared with. Empty if only the scan is measured.
        modes: Of `MODES`.
        device: On which all of it runs, cuda or cpu.
        batch_size: Images at once, for all but the latency.
        image_size: Height and width in pixels.
        precision: A key of `PRECISIONS`.
        seconds: How long each measurement repeats, about.
        op: Measure the scan alone as well.
    """

    models: tuple[str, ...]
    modes: tuple[str, ...]
    device: torch.device
    batch_size: int
    image_size: tuple[int, int]
    precision: str
    seconds: float
    op: bool

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations."""
        return PRECISIONS[self.precision]

    def autocast(self) -> torch.autocast:
        """The context of every forward."""
        mixed = self.dtype is not torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype if mixed else None, enabled=mixed)


def make_plan(
    *,
    models: Sequence[str] = (),
    modes: Sequence[str] = (),
    device: str = "auto",
    batch_size: int | None = None,
    image_size: tuple[int, int] | None = None,
    precision: str = "auto",
    seconds: float = 0.7,
    op: bool = False,
) -> Plan:
    """Fill in the device's defaults.

    Args:
        models: Names of our models or timm's; those of `DEFAULTS` if empty, or none with `op`.
        modes: Of `MODES`; those that the device has if empty.
        device: auto, cpu, cuda or cuda:1.
        batch_size: Images at once.
        image_size: Height and width in pixels.
        precision: auto, 32-true (or 32), bf16-mixed or 16-mixed.
        seconds: How long each measurement repeats, about.
        op: Measure the scan alone, and models only if they are named.

    Raises:
        InputError: It cannot be done on this device. Names of models are looked up only by `benchmark`.
    """
    where = _check_device(device)
    defaults = DEFAULTS[where.type]
    plan = Plan(
        models=tuple(dict.fromkeys(models)) or (() if op else defaults.models),
        modes=tuple(dict.fromkeys(modes)) or defaults.modes,
        device=where,
        batch_size=defaults.batch_size if batch_size is None else batch_size,
        image_size=defaults.image_size if image_size is None else image_size,
        precision=_check_precision(precision, where),
        seconds=seconds,
        op=op,
    )
    _check_modes(plan.modes, where, plan.precision)
    if plan.batch_size < 2:
        raise InputError(f"the batch size {batch_size} came; batch normalisation needs 2 images or more, so give 2")
    if min(plan.image_size) < 16:
        raise InputError(f"an image size of {plan.image_size} came; both sides must be at least 16 pixels")
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"{seconds} seconds a measurement came; give a number above 0")
    return plan


def _check_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = check_device(name)
    if device.type not in DEFAULTS:
        raise InputError(
            f"the device {name!r} has no timer here; the benchmark runs on cuda or cpu, choose one of them"
        )
    return device


def _check_precision(name: str, device: torch.device) -> str:
    known = (*_OTHER_NAMES, *PRECISIONS)
    if name not in known:
        raise InputError(f"precision {name!r} is unknown; choose {', '.join(known)}{suggest(name, known)}")
    return choose_precision(name, device)


def _check_modes(modes: Sequence[str], device: torch.device, precision: str) -> None:
    for mode in modes:
        if mode not in MODES:
            raise InputError(f"there is no mode {mode!r}; choose from {', '.join(MODES)}{suggest(mode, MODES)}")
        if "graph" in mode and device.type != "cuda":
            raise InputError(f"the mode {mode} needs a CUDA device and this run is on {device.type}; leave it out")
        if mode == ONNX and (device.type, precision) != ("cpu", "32-true"):
            raise InputError(
                f"the mode onnx runs on the CPU in 32-true, this run is on {device.type} in {precision}; leave it out"
            )
        if mode == ONNX:
            require_onnx()
