"""The scan compiled for the CPU by numba: no compiler on the user's machine, forward and backward.

A unit of work is one image, one part of the scans and one tile of channels, with the state in the first-level cache.
Channels are the vectorised axis. Units are taken by as many threads as torch uses; the kernels release the
interpreter's lock and no unit writes where another does, so that results do not depend on threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba.ops.cpu_threads import run
from medmamba.ops.sequences import Tokens, like, map_order

log = logging.getLogger(__name__)

CHUNK = 32  # tokens between two states that the backward keeps; what lies between is computed again
AHEAD = 8  # tokens whose steps the forward computes together
WIDEST, NARROWEST = 128, 32  # channels of a unit: its states fit in the first-level cache; each has work enough
SHARES = 4  # of the units, that a thread takes one after the other


def cross_scan(x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> Tensor:
    """Forward of the two-dimensional scan without the array of its steps; arguments as in `medmamba.ops.cross_scan`."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    none = x.new_empty(len(A), 0, 0, x.shape[3], dtype=dtype)
    sequence, BC = x.to(dtype).flatten(1, 2).unsqueeze(2), proj.to(dtype).flatten(1, 2).contiguous()
    tokens = Tokens(sequence, none, A.to(dtype), BC, D.to(dtype))
    return like(_forward(tokens, _order(x.shape[1], x.shape[2]), dt_weight.to(dtype), dt_bias.to(dtype)), x)


def forward(tokens: Tokens, order: Tensor) -> Tensor:
    """Output of the scan; see `medmamba.ops.sequences` for the shapes."""
    k, d = tokens.D.shape
    # a weight of rank 0: the steps are there, and the bias beside it is not read
    return _forward(tokens, order.numpy(), tokens.D.new_empty(k, d, 0), tokens.D)


@lru_cache(maxsize=32)
def _order(height: int, width: int) -> np.ndarray:
    order: np.ndarray = map_order(height, width, torch.device("cpu")).numpy()
    return order


def _forward(tokens: Tokens, order: np.ndarray, dt_weight: Tensor, dt_bias: Tensor) -> Tensor:
    d = tokens.x.shape[3]
    x, dt, A, BC, D = _arrays(tokens)
    weight, bias = _padded(dt_weight.transpose(1, 2), dt_bias)
    parts, rates = _parts(x, len(A)), _rates(A)
    units = x.shape[0] * parts
    # two units for each thread, so that one that the machine holds up does not hold up all
    tile = _tile(x.shape[3], least=-(-2 * torch.get_num_threads() // units))
    y = np.empty((parts if x.shape[2] == 1 else 1, *x.shape), x.dtype)
    arguments = (x, dt, weight, bias, rates, BC, D, order, y)
    scratch = ((rates.shape[1], tile), (AHEAD, tile), (0, tile), (tile,))
    _spread(kernels().forward, arguments, scratch, (parts, tile), units=units * -(-x.shape[3] // tile))
    return _sum(y)[..., :d]


def backward(grad: Tensor, tokens: Tokens, order: Tensor) -> Tokens:
    """Gradients of the tokens."""
    d = tokens.x.shape[3]
    (x, dt, A, BC, D), (gradient,) = _arrays(tokens), _padded(grad)
    parts, states, tile = _parts(x, len(A)), A.shape[1], _tile(x.shape[3])
    batch, tiles, chunks = x.shape[0], -(-x.shape[3] // tile), -(-x.shape[1] // CHUNK)
    dx, ddt = np.empty((parts if x.shape[2] == 1 else 1, *x.shape), x.dtype), np.empty_like(dt)
    # sums over channels are made a tile at a time, sums over the batch an image at a time; added up below, in one order
    dBC = np.empty((tiles, *BC.shape[:3], 2 * states), BC.dtype)
    dA, dD = np.zeros((batch, *A.shape), A.dtype), np.zeros((batch, *D.shape), D.dtype)
    arguments = (gradient, x, dt, A, _rates(A), BC, D, order.numpy(), dx, ddt, dA, dBC, dD)
    of_chunk = ((CHUNK + 1, states, tile), (CHUNK, states, tile), *2 * ((CHUNK, tile),))
    scratch = ((chunks, states, tile), *of_chunk, (states, tile), (2 * states, kernels().lanes), (tile,))
    _spread(kernels().backward, arguments, scratch, (parts, tile), units=batch * parts * tiles)
    sums = dA.sum(0).transpose(0, 2, 1)[:, :d], dBC.sum(0), dD.sum(0)[:, :d]
    return Tokens(_sum(dx)[..., :d], torch.from_numpy(ddt)[..., :d], *map(torch.from_numpy, sums))


def _arrays(tokens: Tokens) -> tuple[np.ndarray, ...]:
    """The tokens with channels that fill whole vectors, and A as (k, n, d), so that channels lie side by side."""
    x, dt, D = _padded(tokens.x, tokens.dt, tokens.D)
    (A,) = _padded(tokens.A.transpose(1, 2))
    return x, dt, A, tokens.BC.detach().numpy(), D


def _padded(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """With zeros after the last channels; a channel of zeros changes nothing in the others."""
    missing = -tensors[0].shape[-1] % kernels().lanes
    return tuple((F.pad(t.detach(), (0, missing)) if missing else t.detach()).contiguous().numpy() for t in tensors)


def _rates(A: np.ndarray) -> np.ndarray:
    """For 2^x instead of exp(x)."""
    return A * A.dtype.type(np.log2(np.e))


def _parts(x: np.ndarray, scans: int) -> int:
    """Groups of the scans that are done side by side: two, with an output each, where all read the same input."""
    return scans if x.shape[2] > 1 else min(2, scans)


def _sum(outputs: np.ndarray) -> Tensor:
    """Of one output or two, in the place of the first."""
    first, *second = torch.from_numpy(outputs)
    return first.add_(second[0]) if second else first


def _tile(channels: int, least: int = 1) -> int:
    """Channels in a unit, for tiles of about the same width, if possible at least so many."""
    tiles = max(-(-channels // WIDEST), min(least, channels // NARROWEST))
    lanes: int = kernels().lanes
    return -(-channels // (tiles * lanes)) * lanes


def _spread(
    kernel: Callable[..., None],
    arguments: tuple[np.ndarray, ...],
    scratch: tuple[tuple[int, ...], ...],
    sizes: tuple[int, int],
    units: int,
) -> None:
    """Run a kernel over `units`, on torch's number of threads, each with its own scratch arrays."""
    threads = max(1, min(torch.get_num_threads(), units))
    count = units if threads == 1 else min(units, SHARES * threads)
    shares = iter(pairwise([units * i // count for i in range(count + 1)]) if threads > 1 else [(0, units)])
    dtype = arguments[0].dtype

    def work() -> None:
        own = [np.empty(shape, dtype) for shape in scratch]
        for first, last in shares:
            kernel(*arguments, *own, *sizes, first, last)

    run(work, threads)


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

    compiled = numba.njit(cache=cached, nogil=True, error_model="numpy")
    return SimpleNamespace(
        forward=compiled(cpu_kernels.forward), backward=compiled(cpu_kernels.backward), lanes=cpu_kernels.LANES
    )
