"""How long a call takes on a device: warm-up, CUDA graphs, many repeats, and how far these are apart."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from medmamba.network import record

Call = Callable[[], object]

FEWEST, MOST = 5, 2000  # repeats of a measurement
WARM_UP_CALLS = 3  # PyTorch's advice before a capture; enough for cuDNN's and Triton's tuning too


@dataclass(frozen=True)
class Spread:
    """What repeats of one measurement gave: the median, three percentiles and their number."""

    median: float
    p10: float
    p90: float
    p95: float
    repeats: int


@dataclass(frozen=True)
class Measured:
    """Times of single calls, in ms, and the most memory allocated on the device meanwhile, in bytes."""

    times: tuple[float, ...]
    peak_bytes: int | None


def spread(values: Sequence[float]) -> Spread:
    """Median and percentiles, interpolated linearly, of one value or more."""
    p10, median, p90, p95 = (float(value) for value in np.percentile(values, (10, 50, 90, 95)))
    return Spread(median, p10, p90, p95, len(values))


def measure(
    call: Call, device: torch.device, *, seconds: float, graph: bool = False, one_at_a_time: bool = False
) -> Measured:
    """Warm up, record in a CUDA graph if asked for, and repeat.

    Args:
        call: Works on the same tensors each time, and on a CUDA device does not wait for it. What it does the first
            time (compiling, tuning) is not counted.
        device: Where it works.
        seconds: How long to repeat, about; at least `FEWEST` times and at most `MOST`.
        graph: Record what the call does in a CUDA graph and time its replays.
        one_at_a_time: Wait for each call before the next, as a service does that answers one image. Otherwise
            calls queue up, as in training.
    """
    cuda = device.type == "cuda"
    stream = torch.cuda.Stream(device) if graph else None
    _warm_up(call, device, seconds / 4, stream)
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)  # after the warm-up: tuning tries kernels with large buffers
    replay = call if stream is None else record(call, stream)
    repeats = _repeats(replay, device, seconds)
    times = (_times_cuda if cuda else _times_cpu)(replay, repeats, one_at_a_time)
    # replays allocate nothing, but the recording, which lies after the reset, allocated all that they use
    return Measured(tuple(times), torch.cuda.max_memory_allocated(device) if cuda else None)


def release(device: torch.device) -> None:
    """Give back what was measured last, so that the next starts on an empty device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _warm_up(call: Call, device: torch.device, seconds: float, stream: torch.cuda.Stream | None) -> None:
    if stream is not None:
        stream.wait_stream(torch.cuda.current_stream(device))
    with warnings.catch_warnings(), nullcontext() if stream is None else torch.cuda.stream(stream):
        # an optimiser that will be recorded says so when it runs unrecorded, as it must here
        warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
        call()  # compiles
        _wait(device)
        begin, calls = time.perf_counter(), 1
        while calls < WARM_UP_CALLS or time.perf_counter() - begin < seconds:
            call()
            _wait(device)
            calls += 1
    if stream is not None:
        torch.cuda.current_stream(device).wait_stream(stream)


def _repeats(call: Call, device: torch.device, seconds: float) -> int:
    _wait(device)
    begin = time.perf_counter()
    call()
    _wait(device)
    once = max(time.perf_counter() - begin, 1e-9)
    return min(max(int(seconds / once), FEWEST), MOST)


def _times_cuda(call: Call, repeats: int, one_at_a_time: bool) -> list[float]:
    """In ms, by device events. Of queued calls, from the end of one to the end of the next, launch gaps included."""
    begins = [torch.cuda.Event(enable_timing=True) for _ in range(repeats)]
    ends = [torch.cuda.Event(enable_timing=True) for _ in range(repeats)]
    torch.cuda.synchronize()
    for i, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if one_at_a_time:
            torch.cuda.synchronize()
        if one_at_a_time or i == 0:
            begin.record()
        call()
        end.record()
    torch.cuda.synchronize()
    if not one_at_a_time:
        begins = [begins[0], *ends[:-1]]
    return [begin.elapsed_time(end) for begin, end in zip(begins, ends, strict=True)]


def _times_cpu(call: Call, repeats: int, one_at_a_time: bool) -> list[float]:
    """In ms; on the CPU a call ends before the next begins in any case."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1000)
    return times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
