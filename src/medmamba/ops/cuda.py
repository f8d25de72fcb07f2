"""The cross-scan for NVIDIA cards: CUDA C++ compiled at run time by NVRTC, which comes with torch; no build step.

The kernels are in `cuda_scan.cu`. A warp scans 32 channels of one image in one direction; dt, softplus and skip
are inside; the state stays in float32 registers. The four directions are written side by side and summed after. Where
a batch has too few warps for the card, the sequence is cut into segments: a first pass gives the state after each
segment alone, a second links them, a third scans all segments at once. The backward writes the state at every eighth
step, then walks back and computes again what lies between. Sums over images, segments and blocks are made by torch
from partial sums, in one order, so that one input gives one result, bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medmamba.ops.cuda_conv import conv_silu, conv_silu_backward
from medmamba.ops.cuda_module import DTYPES, SCAN, load

__all__ = ["conv_silu", "conv_silu_backward", "cross_scan", "cross_scan_backward"]

STATES = 16  # that a warp holds of a channel; more are scanned in turns
CHUNK = 8  # tokens: what segments are multiples of; between two states that the backward begins from
LARGEST_RANK = 128  # so that what the backward keeps of it fits in shared memory
WARPS = 12  # of a multiprocessor, that hide the latency of its instructions
FEWEST = 32  # tokens of a segment


def cross_scan(x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> Tensor:
    """Forward; arguments as in `medmamba.ops.cross_scan`."""
    first, *others = (_scan(_Case(x, *part)) for part in _turns(proj, dt_weight, dt_bias, A, D))
    return sum(others, first)


def cross_scan_backward(
    grad: Tensor, x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of x, proj, dt_weight, dt_bias, A and D."""
    arguments = (x, proj, dt_weight, dt_bias, A, D)
    turns = [_scan_backward(grad, _Case(x, *part)) for part in _turns(*arguments[1:])]
    gradients = turns[0] if len(turns) == 1 else _join(turns, dt_weight.shape[2])
    return tuple(g.to(t.dtype).contiguous() for g, t in zip(gradients, arguments, strict=True))


def _join(turns: list[tuple[Tensor, ...]], r: int) -> tuple[Tensor, ...]:
    """One gradient of each argument from those of the turns."""
    dx, dproj, dweight, dbias, dA, dD = zip(*turns, strict=True)
    B, C = zip(*(g[..., r:].chunk(2, -1) for g in dproj), strict=True)
    all_proj = torch.cat([sum(g[..., :r] for g in dproj), *B, *C], -1)
    return sum(dx), all_proj, sum(dweight), sum(dbias), torch.cat(dA, -1), dD[0]


def _turns(proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> list[tuple[Tensor, ...]]:
    """The arguments for every 16 states, whose outputs add up; the skip belongs to the first."""
    n, r = A.shape[2], dt_weight.shape[2]
    if n <= STATES:
        return [(proj, dt_weight, dt_bias, A, D)]
    turns: list[tuple[Tensor, ...]] = []
    for first in range(0, n, STATES):
        last = min(n, first + STATES)
        parts = (proj[..., :r], proj[..., r + first : r + last], proj[..., r + n + first : r + n + last])
        turns.append((torch.cat(parts, -1), dt_weight, dt_bias, A[..., first:last], D if first == 0 else D * 0))
    return turns


class _Case:
    """Arguments as the kernels take them, and how the work is shared out."""

    def __init__(self, x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> None:
        self.x, self.proj = _aligned(x), _aligned(proj.to(x.dtype))
        self.parameters = [t.detach().float().contiguous() for t in (dt_weight, dt_bias, A, D)]
        self.b, self.h, self.w, self.d = x.shape
        self.rank, self.states = dt_weight.shape[2], A.shape[2]
        if self.rank > LARGEST_RANK:
            raise ValueError(
                f"rank {self.rank} came; the CUDA scan takes at most {LARGEST_RANK}, use backend 'chunked'"
            )
        self.tiles, self.length = -(-self.d // 32), self.h * self.w
        row = self.d * x.element_size()
        unit = next(size for size in (16, 8, 4, 2) if row % size == 0)
        macros = (f"-D{DTYPES[x.dtype]}", f"-DRANK={self.rank}", f"-DSTATES={self.states}", f"-DUNIT={unit}")
        self.kernels = load(SCAN, macros, x.device.index or 0)
        warps, wanted = self.b * 4 * self.tiles, WARPS * self.kernels.multiprocessors
        # the passes that link segments cost as much as a forward, so there are none unless they pay
        segments = max(1, min(wanted // warps, self.length // FEWEST)) if 2 * warps <= wanted else 1
        self.segment = -(-self.length // segments // CHUNK) * CHUNK
        self.segments = -(-self.length // self.segment)

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.x.device)

    def launch(self, name: str, *others: Tensor | None) -> None:
        """Run a kernel on every tile, direction, image and segment, with `others` after the map and the parameters."""
        grid = (self.tiles, 4, self.b * self.segments)
        values = [self.x, self.proj, *self.parameters, *others, self.h, self.w, self.d, self.segment]
        self.kernels.launch(name, grid, values)

    @property
    def warps(self) -> int:
        """Of all tiles, directions, images and segments."""
        return self.b * self.segments * 4 * self.tiles

    def combine(self, ends: Tensor, sums: Tensor, *, reverse: bool) -> None:
        """Turn what every segment gives alone into what it begins with."""
        values = [self.parameters[2], sums, ends, self.segments, self.d, int(reverse)]
        self.kernels.launch("scan_combine", (self.tiles, 4, self.b), values)


def _scan(case: _Case) -> Tensor:
    start = None
    if case.segments > 1:
        start, sums = case.empty(case.warps, 512), case.empty(case.warps, 32)
        case.launch("scan_ends", start, sums)
        case.combine(start, sums, reverse=False)
    outputs = case.x.new_empty(4, *case.x.shape)
    case.launch("scan_forward", start, outputs)
    return outputs.sum(0)


def _scan_backward(grad: Tensor, case: _Case) -> tuple[Tensor, ...]:
    b, d = case.b, case.d
    grad = _aligned(grad.to(case.x.dtype))
    chunks = b * 4 * case.tiles * -(-case.length // CHUNK)
    kept, walked, start, adjoint = case.empty(chunks, 512), None, None, None
    if case.segments == 1:
        case.launch("scan_states", kept)
    else:  # the states of each segment alone; what the others add to them, the backward adds
        walked, start, sums = case.empty(chunks, 32), case.empty(case.warps, 512), case.empty(case.warps, 32)
        case.launch("scan_states_and_ends", start, sums, kept, walked)
        case.combine(start, sums, reverse=False)
        adjoint = case.empty(case.warps, 512)
        case.launch("scan_adjoint_ends", grad, adjoint)
        case.combine(adjoint, sums, reverse=True)
    dx = case.x.new_empty(4, *case.x.shape)
    dproj = case.x.new_empty(case.tiles, *case.proj.shape)
    gradients = case.empty(b * case.segments, 4, d, case.states + case.rank + 2)
    case.launch("scan_backward", grad, kept, walked, start, adjoint, dx, dproj, gradients)
    dA, dweight, dbias, dD = gradients.sum(0).split([case.states, case.rank, 1, 1], -1)
    return dx.sum(0), dproj.sum(0), dweight, dbias.squeeze(-1), dA, dD.squeeze(-1)


def _aligned(t: Tensor) -> Tensor:
    """Contiguous, and where the kernels' widest copies can begin."""
    t = t.contiguous()
    return t.clone() if t.data_ptr() % 16 else t
