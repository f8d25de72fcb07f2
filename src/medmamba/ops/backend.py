"""The one place that decides which implementation of an operator runs, and can say why.

A backend is trusted only after it has reproduced the reference on a small case, forward before its first forward and
backward before its first backward. One that was asked for and cannot run is an error; one that was not asked for and
breaks is reported once and passed over.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from medmamba.ops import reference, sequences

log = logging.getLogger(__name__)

ENVIRONMENT = "MEDMAMBA_BACKEND"
PATIENCE = 1.0  # seconds


class BackendError(RuntimeError):
    """A backend that was asked for cannot run; the message gives the reason."""


@dataclass(frozen=True)
class Backend:
    """A row of `BACKENDS`."""

    module: str  # holds a core, `forward` and `backward` as `medmamba.ops.sequences` describes, or operators whole
    devices: tuple[str, ...] | None  # torch device types; None for any
    what: str
    operators: tuple[str, ...] = ("cross_scan", "selective_scan")
    dtypes: tuple[torch.dtype, ...] | None = None  # of the input; None for any

    def core(self) -> Any:
        """Import the implementation, with all that it needs."""
        return importlib.import_module(self.module)

    def function(self, operator: str, direction: str) -> Callable[..., Any]:
        """What does the work of one operator's forward or backward, with the operator's tensors as arguments."""
        name, core = operator if direction == "forward" else f"{operator}_backward", self.core()
        whole: Callable[..., Any] | None = getattr(core, name, None)
        return whole or partial(getattr(sequences, name), core)


@dataclass(frozen=True)
class Call:
    """What is asked of a backend beside the device and the direction."""

    operator: str = "cross_scan"
    dtype: torch.dtype = torch.float32


# In order of preference. The reference loop stands beside them and runs only when it is asked for.
BACKENDS = {
    "cpu": Backend("medmamba.ops.cpu", ("cpu",), "compiled by numba"),
    "cuda": Backend(
        "medmamba.ops.cuda",
        ("cuda",),
        "CUDA C++, compiled at run time",
        operators=("cross_scan", "conv_silu"),
        dtypes=(torch.float32, torch.bfloat16, torch.float16),
    ),
    "triton": Backend(
        "medmamba.ops.triton_scan",
        ("cuda", "xpu"),
        "Triton, for GPUs of every maker",
        operators=("cross_scan",),
        dtypes=(torch.float32, torch.bfloat16, torch.float16),
    ),
    "chunked": Backend(
        "medmamba.ops.chunked",
        None,
        "vectorised torch, any device",
        operators=("cross_scan", "selective_scan", "conv_silu"),
    ),
}
REFERENCE = "reference"

_requested: str | None = os.environ.get(ENVIRONMENT) or None
# (backend, device type, operator that is tried, direction) -> why it cannot run
_verdicts: dict[tuple[str, str, str, str], str | None] = {}


@contextmanager
def use_backend(name: str | None) -> Iterator[None]:
    """Run every scan inside the block, its backward included, with one backend; None restores the automatic choice.

    Raises:
        BackendError: There is no backend of this name.
    """
    global _requested
    if name is not None:
        check_name(name)
    before, _requested = _requested, name
    try:
        yield
    finally:
        _requested = before


def requested(name: str | None = None) -> str:
    """The backend asked for by argument, by `use_backend` or by the environment; an empty string if none was."""
    return name or _requested or ""


def check_name(name: str) -> None:
    """Raise `BackendError` for a name that is no backend's."""
    if name not in BACKENDS and name != REFERENCE:
        raise BackendError(f"there is no scan backend {name!r}; choose one of {', '.join([*BACKENDS, REFERENCE])}")


def choose(device_type: str, name: str = "", direction: str = "forward", *, call: Call | None = None) -> str:
    """Name of the backend that runs on a device.

    Args:
        device_type: As in `torch.device.type`.
        name: The one asked for; an empty string for the first in `BACKENDS` that works.
        direction: "forward" or "backward".
        call: What it must be able to do beside that; by default a cross-scan in float32.

    Raises:
        BackendError: The one asked for cannot run here.
    """
    if name:
        check_name(name)
        if reason := why_not(name, device_type, direction, call=call):
            raise BackendError(f"the scan backend {name!r} was asked for and cannot run: {reason}")
        return name
    for candidate, backend in BACKENDS.items():
        fits = backend.devices is None or device_type in backend.devices
        if fits and why_not(candidate, device_type, direction, call=call) is None:
            return candidate
    raise BackendError(f"no scan backend works on {device_type!r}: {describe(device_type)}")


def function(operator: str, x: Tensor, name: str = "", direction: str = "forward") -> Callable[..., Any]:
    """The implementation of an operator that `choose` names for an input."""
    call = Call(operator, x.dtype)
    return BACKENDS[choose(x.device.type, name, direction, call=call)].function(operator, direction)


def describe(device_type: str = "cpu") -> dict[str, str]:
    """What every backend is, and whether it can run on a device or why not."""
    words = {}
    for name, backend in BACKENDS.items():
        reason = why_not(name, device_type)
        state = "works" if reason is None else f"cannot run: {reason}"
        if reason is None and "conv_silu" in backend.operators:
            reason = why_not(name, device_type, call=Call("conv_silu"))
            state += f", but not for the convolution: {reason}" if reason else ""
        words[name] = f"{backend.what}; {state}"
    words[REFERENCE] = "the readable loop; works, only when asked for"
    return words


def why_not(name: str, device_type: str, direction: str = "forward", *, call: Call | None = None) -> str | None:
    """Why a backend cannot run on a device, or None if it can."""
    if name == REFERENCE:
        return None
    backend, call = BACKENDS[name], call or Call()
    if backend.devices is not None and device_type not in backend.devices:
        return f"it runs on {', '.join(backend.devices)}, not on {device_type}"
    if call.operator not in backend.operators:
        return f"it has no {call.operator}"
    if backend.dtypes is not None and call.dtype not in backend.dtypes:
        return f"it takes {', '.join(map(str, backend.dtypes))}, not {call.dtype}"
    tried = "conv_silu" if call.operator == "conv_silu" else "cross_scan"  # both scans share their core
    key = (name, device_type, tried, direction)
    if key not in _verdicts:
        words = f"preparing the {_WORDS[tried]} {name!r} for its first {direction} pass here"
        with _announced(words):
            _verdicts[key] = _self_test(backend, torch.device(device_type), direction, tried)
        if reason := _verdicts[key]:
            log.warning("the %s %r is not used on %s: %s", _WORDS[tried], name, device_type, reason)
    return _verdicts[key]


@contextmanager
def _announced(words: str) -> Iterator[None]:
    """Say what is being done if it takes long: kernels that have to be compiled may take some seconds."""
    timer = threading.Timer(PATIENCE, log.info, [words])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


_WORDS = {"cross_scan": "scan backend", "conv_silu": "convolution of the backend"}


def _self_test(backend: Backend, device: torch.device, direction: str, operator: str = "cross_scan") -> str | None:
    """Compare with the reference on a small map; the reason for a failure, or None."""
    # torch's own operators on CUDA devices may round float32 to TF32, as the user has set it; not so float64
    dtype = torch.float64 if device.type == "cuda" and backend.dtypes is None else torch.float32
    case = [t.to(device, dtype) for t in _case(operator)]
    try:
        run = backend.function(operator, direction)
        actual = [run(*case)] if direction == "forward" else list(run(torch.ones_like(case[0]), *case))
    except Exception as reason:  # whatever a broken package or driver raises, another backend can still run
        return f"{type(reason).__name__}: {reason}"
    for value, truth in zip(actual, _truth(operator, direction), strict=True):
        error = (value.cpu() - truth).norm() / truth.norm()
        if not error < 1e-4:
            return f"its self-test is off by {error:.1e} relative to the reference"
    return None


def _case(operator: str) -> list[Tensor]:
    """Arguments over a 3 x 2 map with 8 channels, 4 states and rank 2, without random numbers."""

    def wave(*shape: int) -> Tensor:
        return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).mul(0.7).sin().view(shape)

    b, h, w, d, n, r = 2, 3, 2, 8, 4, 2
    x = wave(b, h, w, d)
    if operator == "conv_silu":
        return [x, wave(d, 1, 3, 3), wave(d)]
    return [x, wave(b, h, w, 4, r + 2 * n), wave(4, d, r), wave(4, d), -wave(4, d, n).exp(), wave(4, d)]


def _truth(operator: str, direction: str) -> list[Tensor]:
    case, run = _case(operator), getattr(reference, operator)
    if direction == "forward":
        return [run(*case)]
    # autograd does not run inside an operator's backward, where this may be called: a thread of its own is outside
    return _in_thread(lambda: _reference_gradients(run, case))


def _reference_gradients(run: Callable[..., Tensor], case: list[Tensor]) -> list[Tensor]:
    with torch.enable_grad():
        leaves = [t.requires_grad_() for t in case]
        return list(torch.autograd.grad(run(*leaves).sum(), leaves))


def _in_thread(function: Callable[[], list[Tensor]]) -> list[Tensor]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
