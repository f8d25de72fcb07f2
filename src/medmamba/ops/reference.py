"""The selective scan as a loop that a student can read: the truth that every other implementation is tested against.

Slow, plain, differentiable by autograd, in the precision of its inputs (float32 at least).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def selective_scan(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, dt_bias: Tensor | None = None
) -> Tensor:
    """One-dimensional scan; see `medmamba.ops.selective_scan` for the arguments."""
    dtype = torch.promote_types(u.dtype, torch.float32)
    x, dt, A, B, C = (t.to(dtype) for t in (u, dt, A, B, C))
    repeat = x.shape[1] // B.shape[1]  # channels that share one B and C
    B = B.repeat_interleave(repeat, dim=1)  # (b, g*d, n, l)
    C = C.repeat_interleave(repeat, dim=1)
    s = F.softplus(dt if dt_bias is None else dt + dt_bias.to(dtype)[:, None])  # (b, g*d, l)

    h = x.new_zeros(x.shape[0], x.shape[1], A.shape[1])  # (b, g*d, n)
    outputs = []
    for t in range(x.shape[2]):
        decay = torch.exp(s[:, :, t, None] * A)
        # as published: s B stands for the zero-order hold of the paper's equation 2, as in Mamba
        h = decay * h + s[:, :, t, None] * B[..., t] * x[:, :, t, None]
        outputs.append((C[..., t] * h).sum(-1))
    y = torch.stack(outputs, dim=-1)  # (b, g*d, l)
    if D is not None:
        y = y + D.to(dtype)[:, None] * x
    return y.to(u.dtype)


def cross_scan(x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> Tensor:
    """Two-dimensional scan; see `medmamba.ops.cross_scan` for the arguments."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    b, height, width, d = x.shape
    k, _, r = dt_weight.shape
    n = A.shape[-1]
    xs = unroll(x[:, :, :, None].expand(-1, -1, -1, k, -1)).to(dtype)  # (b, k, l, d)
    low, B, C = unroll(proj).to(dtype).split([r, n, n], dim=-1)  # (b, k, l, r), (b, k, l, n) twice
    dt = low @ dt_weight.to(dtype).transpose(1, 2)  # (b, k, l, d)

    def channels(tokens: Tensor) -> Tensor:  # (b, k, l, d) -> (b, k*d, l)
        return tokens.transpose(2, 3).flatten(1, 2)

    y = selective_scan(
        channels(xs),
        channels(dt),
        A.flatten(0, 1),
        B.transpose(2, 3),
        C.transpose(2, 3),
        D.flatten(),
        dt_bias.flatten(),
    )
    y = y.view(b, k, d, height * width).transpose(2, 3)
    return roll(y, height, width).sum(dim=3).to(x.dtype)


def unroll(maps: Tensor) -> Tensor:
    """Read four maps (b, h, w, 4, c) as sequences (b, 4, l, c): by rows, by columns, and the reverses of these two."""
    rows = maps.flatten(1, 2)  # (b, l, 4, c)
    columns = maps.transpose(1, 2).flatten(1, 2)
    return torch.stack(
        [rows[:, :, 0], columns[:, :, 1], rows[:, :, 2].flip(1), columns[:, :, 3].flip(1)],
        dim=1,
    )


def roll(sequences: Tensor, height: int, width: int) -> Tensor:
    """Undo `unroll`: sequences (b, 4, l, c) become maps (b, h, w, 4, c)."""
    by_rows = [sequences[:, 0], sequences[:, 2].flip(1)]
    by_columns = [sequences[:, 1], sequences[:, 3].flip(1)]
    rows = [s.unflatten(1, (height, width)) for s in by_rows]
    columns = [s.unflatten(1, (width, height)).transpose(1, 2) for s in by_columns]
    return torch.stack([rows[0], columns[0], rows[1], columns[1]], dim=3)


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise convolution and SiLU; see `medmamba.ops.conv_silu` for the arguments."""
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=x.shape[3])
    return F.silu(y.permute(0, 2, 3, 1))
