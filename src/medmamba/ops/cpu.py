"""The scan compiled for the CPU by numba: no compiler on the user's machine, forward and backward.

A unit of work is one image and one tile of channels, for which all scans run one after the other with the state in the
first-level cache. Channels are the vectorised axis. Units are spread over torch's number of threads by a thread pool of
ours rather than by numba's own layers, of which one dies in a forked child and another under concurrent callers; the
kernels release the interpreter's lock and no unit writes where another does, so that results do not depend on threads.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from medmamba.ops.sequences import Tokens

log = logging.getLogger(__name__)

CHUNK = 32  # tokens between two states that the backward keeps; what lies between is computed again
TILE = 64  # channels in a unit of work


def forward(tokens: Tokens, order: Tensor) -> Tensor:
    """Output of the scan; see `medmamba.ops.sequences` for the shapes."""
    x, dt, A, BC, D = (t.detach().numpy() for t in tokens)
    y = np.zeros_like(x)
    tile, states = _tile(x), A.shape[2]
    arguments = (x, dt, _states_first(A), BC, D, order.numpy(), y)
    scratch = ((states, tile), *3 * ((tile,),))
    _spread(kernels().forward, arguments, scratch, units=x.shape[0] * -(-x.shape[3] // tile))
    return torch.from_numpy(y)


def backward(grad: Tensor, tokens: Tokens, order: Tensor) -> Tokens:
    """Gradients of the tokens."""
    x, dt, A, BC, D = (t.detach().numpy() for t in tokens)
    rates = _states_first(A)
    tile, states = _tile(x), rates.shape[1]
    batch, tiles, chunks = x.shape[0], -(-x.shape[3] // tile), -(-x.shape[1] // CHUNK)
    dx, ddt = np.zeros_like(x), np.empty_like(dt)
    # sums over channels are made a tile at a time, sums over the batch an image at a time; added up below, in one order
    dBC = np.empty((tiles, *BC.shape[:3], 2 * states), BC.dtype)
    dA, dD = np.zeros((batch, *rates.shape), A.dtype), np.zeros((batch, *D.shape), D.dtype)
    arguments = (grad.detach().numpy(), x, dt, rates, BC, D, order.numpy(), dx, ddt, dA, dBC, dD)
    kept = (CHUNK, states, tile)  # of a chunk
    scratch = ((chunks, states, tile), (CHUNK + 1, states, tile), kept, *2 * ((CHUNK, tile),), (states, tile))
    _spread(kernels().backward, arguments, scratch + 3 * ((tile,),), units=batch * tiles)
    sums = dA.sum(0).transpose(0, 2, 1), dBC.sum(0), dD.sum(0)
    return Tokens(torch.from_numpy(dx), torch.from_numpy(ddt), *map(torch.from_numpy, sums))


def _states_first(A: np.ndarray) -> np.ndarray:  # (k, d, n) -> (k, n, d), so that channels lie side by side
    return np.ascontiguousarray(A.transpose(0, 2, 1))


def _tile(x: np.ndarray) -> int:
    """Channels in a unit: `TILE`, or half of it where that leaves a thread without work."""
    return TILE if x.shape[0] * (x.shape[3] // TILE) >= torch.get_num_threads() else TILE // 2


def _spread(
    kernel: Callable[..., None], arguments: tuple[np.ndarray, ...], scratch: tuple[tuple[int, ...], ...], units: int
) -> None:
    """Run a kernel over `units`, in contiguous shares, one a thread, each with its own scratch arrays."""
    threads = max(1, min(torch.get_num_threads(), units))
    bounds = [units * i // threads for i in range(threads + 1)]
    dtype = arguments[0].dtype

    def work(first: int, last: int) -> None:
        kernel(*arguments, *(np.empty(shape, dtype) for shape in scratch), first, last)

    shares = list(pairwise(bounds))
    waiting = [_pool(os.getpid()).submit(work, *share) for share in shares[1:]] if threads > 1 else []
    work(*shares[0])
    for future in waiting:
        future.result()


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process; a forked child has another number and so makes its own."""
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="medmamba-scan")


@cache
def kernels() -> SimpleNamespace:
    """Compile on first use, not on import; kept between processes where a folder can be written.

    Raises:
        ImportError: numba is not installed, or broken.
    """
    try:
        return _build(cached=True)
    except RuntimeError as reason:  # numba finds no writable place for its cache
        log.warning("the CPU scan is compiled anew in every process, since numba cannot write a cache: %s", reason)
        return _build(cached=False)


def _build(cached: bool) -> SimpleNamespace:
    import numba

    from medmamba.ops import cpu_kernels

    # sums may be reordered, which vectorised ones need; NaN and infinity keep their meaning
    fastmath = {"reassoc", "contract", "nsz", "arcp"}
    compiled = numba.njit(cache=cached, nogil=True, fastmath=fastmath, error_model="numpy")
    return SimpleNamespace(forward=compiled(cpu_kernels.forward), backward=compiled(cpu_kernels.backward))
