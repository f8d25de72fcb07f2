"""The cross-scan compiled by Triton, forward and backward: the portable one, for the GPUs of every maker it supports.

The kernels are in `triton_kernels.py`. They do the recurrence of Gu & Dao 2023 (algorithm 2), along the four directions
over a map of Yue & Li 2024 (algorithm 1), which are index arithmetic here: the map is neither copied nor flipped. A
program takes one tile of channels of one image in one direction; dt, softplus and skip are inside, the state stays in
float32 registers. It is written to be read and to be right, not to be the fastest.

The backward runs a direction forward and keeps the state at the start of every chunk, then takes the chunks in reverse:
runs each again, keeps all its states, and walks back through them. Decays are never divided by. With as many chunks as
tokens in a chunk the states kept are fewest, of the order of the square root of the length.

What several programs would add to (the maps of the four directions, gradients that sum over channels or over images)
each writes apart and torch adds up: one input gives one result, bit for bit.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

try:
    import triton

    from medmamba.ops import triton_kernels as kernels
except ImportError as reason:
    raise ImportError(
        f"Triton cannot be imported; it comes with torch's builds for GPUs on Linux: {reason}"
    ) from reason

TILE = 32  # channels of a program at most: one a thread of a single warp, so that no program waits for another warp
HELD = 768  # rows of (states and ranks) times channels of a tile; with more, the backward spills registers


def cross_scan(x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> Tensor:
    """Forward; arguments as in `medmamba.ops.cross_scan`."""
    b, h, w, d = x.shape
    grid, sizes = _launch(b, d, A.shape[2], dt_weight.shape[2])
    y = _empty(x, b, 4, h, w, d)
    with torch.accelerator.device_index(_index(x)):
        kernels.forward[grid](*_as_read(x, proj, dt_weight, dt_bias, A, D), y, h, w, d, **sizes)
    return y.sum(1).to(x.dtype)


def cross_scan_backward(
    grad: Tensor, x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of x, proj, dt_weight, dt_bias, A and D."""
    (b, h, w, d), n, r = x.shape, A.shape[2], dt_weight.shape[2]
    grid, sizes = _launch(b, d, n, r)
    chunk = max(1, math.ceil(math.sqrt(h * w)))
    starts, states = _empty(x, b, 4, triton.cdiv(h * w, chunk), n, d), _empty(x, b, 4, chunk, n, d)
    dx, dproj = _empty(x, b, 4, h, w, d), _empty(x, grid[2], *proj.shape)
    dweight, dbias, dA, dD = (_empty(x, b, 4, *shape) for shape in ((r, d), (d,), (n, d), (d,)))
    tensors = (grad.contiguous(), *_as_read(x, proj, dt_weight, dt_bias, A, D))
    with torch.accelerator.device_index(_index(x)):
        kernels.backward[grid](*tensors, starts, states, dx, dproj, dweight, dbias, dA, dD, h, w, d, chunk, **sizes)
    gradients = (dx.sum(1), dproj.sum(0), dweight.sum(0).mT, dbias.sum(0), dA.sum(0).mT, dD.sum(0))
    arguments = (x, proj, dt_weight, dt_bias, A, D)
    return tuple(g.to(t.dtype).contiguous() for g, t in zip(gradients, arguments, strict=True))


def _launch(images: int, channels: int, states: int, rank: int) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """The programs, as (images, directions, tiles), and the sizes that a kernel is compiled for."""
    rows = {"BLOCK_N": triton.next_power_of_2(states), "BLOCK_R": triton.next_power_of_2(rank)}
    tile = TILE
    while tile > 1 and tile * sum(rows.values()) > HELD:
        tile //= 2
    sizes = {"N": states, "R": rank, **rows, "TILE": tile, "num_warps": 1}
    return (images, 4, triton.cdiv(channels, tile)), sizes


def _as_read(x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> list[Tensor]:
    """The arguments as the kernels read them: parameters in float32, with channels side by side as threads are."""
    weight, bias, rates, skip = (t.to(torch.float32) for t in (dt_weight, dt_bias, A, D))
    return [t.contiguous() for t in (x, proj, weight.mT, bias, rates.mT, skip)]


def _empty(x: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=x.device)


def _index(x: Tensor) -> int | None:
    """Which GPU to launch on; none under Triton's interpreter, which runs on the CPU."""
    return None if x.device.type == "cpu" else x.device.index
