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
TILE = 32  # channels in a unit of work


def forward(tokens: Tokens, order: Tensor) -> Tensor:
    """Output of the scan; see `medmamba.ops.sequences` for the shapes."""
    x, s, A, B, C, D = (t.detach().numpy() for t in tokens)
    y = np.zeros_like(x)
    tile = _tile(x)
    kernel = kernels().forward
    arguments = (x, s, _states_first(A), B, C, D, order.numpy(), y, tile)
    _spread(kernel, arguments, units=x.shape[0] * -(-x.shape[3] // tile))
    return torch.from_numpy(y)


def backward(grad: Tensor, tokens: Tokens, order: Tensor) -> Tokens:
    """Gradients of the tokens."""
    x, s, A, B, C, D = (t.detach().numpy() for t in tokens)
    tile = _tile(x)
    batch, tiles = x.shape[0], -(-x.shape[3] // tile)
    rates = _states_first(A)
    dx, ds = np.zeros_like(x), np.empty_like(s)
    # sums over channels are made a tile at a time, sums over the batch an image at a time; added up below, in one order
    dB, dC = np.empty((tiles, *B.shape), B.dtype), np.empty((tiles, *C.shape), C.dtype)
    dA, dD = np.zeros((batch, *rates.shape), A.dtype), np.zeros((batch, *D.shape), D.dtype)
    arguments = (grad.detach().numpy(), x, s, rates, B, C, D, order.numpy(), dx, ds, dA, dB, dC, dD, tile, CHUNK)
    _spread(kernels().backward, arguments, units=batch * tiles)
    sums = dA.sum(0).transpose(0, 2, 1), dB.sum(0), dC.sum(0), dD.sum(0)
    return Tokens(
        torch.from_numpy(dx), torch.from_numpy(ds), *(torch.from_numpy(np.ascontiguousarray(t)) for t in sums)
    )


def _states_first(A: np.ndarray) -> np.ndarray:  # (k, d, n) -> (k, n, d), so that channels lie side by side
    return np.ascontiguousarray(A.transpose(0, 2, 1))


def _tile(x: np.ndarray) -> int:
    """Channels in a unit: `TILE`, or half of it where that leaves a thread without work."""
    return TILE if x.shape[0] * (x.shape[3] // TILE) >= torch.get_num_threads() else TILE // 2


def _spread(kernel: Callable[..., None], arguments: tuple[object, ...], units: int) -> None:
    """Run `kernel(*arguments, first, last)` over `units`, in contiguous shares, one a thread."""
    threads = max(1, min(torch.get_num_threads(), units))
    bounds = [units * i // threads for i in range(threads + 1)]
    shares = list(pairwise(bounds))
    waiting = [_pool(os.getpid()).submit(kernel, *arguments, *share) for share in shares[1:]] if threads > 1 else []
    kernel(*arguments, *shares[0])
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
