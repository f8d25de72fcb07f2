"""Both scans over one core: what the chunked and the compiled CPU implementation share.

A core works on tokens. With `l` tokens, `k` independent scans (directions, or groups of channels), `d` channels in each
and `n` states, it takes

    x      (b, l, j, d)  input, j = k, or j = 1 where all k scans read the same input and their outputs are summed
    s      (b, l, k, d)  step sizes, after softplus
    A      (k, d, n)     decay rates, negative
    B, C   (b, l, k, n)
    D      (k, d)        skip weights
    order  (k, l)        the position that each scan reads at each time

all contiguous and of one dtype, and gives y of x's shape; its backward gives the gradients of x, s, A, B, C and D.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Tokens(NamedTuple):
    """Arguments of a core; see the module's text for the shapes."""

    x: Tensor
    s: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor


class Core(Protocol):
    """An implementation of the recurrence; a module with these two functions is one."""

    def forward(self, tokens: Tokens, order: Tensor) -> Tensor: ...

    def backward(self, grad: Tensor, tokens: Tokens, order: Tensor) -> Tokens: ...


def cross_scan(core: Core, x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> Tensor:
    """Forward of the two-dimensional scan; arguments as in `medmamba.ops.cross_scan`."""
    tokens, _ = _map_tokens(x, proj, dt_weight, dt_bias, A, D)
    return _like(core.forward(tokens, map_order(x.shape[1], x.shape[2], x.device)), x)


def cross_scan_backward(
    core: Core, grad: Tensor, x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of x, proj, dt_weight, dt_bias, A and D."""
    tokens, dt = _map_tokens(x, proj, dt_weight, dt_bias, A, D)
    order = map_order(x.shape[1], x.shape[2], x.device)
    g = core.backward(grad.to(tokens.x.dtype).reshape(tokens.x.shape).contiguous(), tokens, order)
    grad_dt = g.s * torch.sigmoid(dt)  # the derivative of softplus
    weight = dt_weight.to(grad_dt.dtype)
    low = proj[..., : weight.shape[-1]].to(grad_dt.dtype).flatten(1, 2)  # (b, l, k, r)
    grad_low = torch.einsum("blkd,kdr->blkr", grad_dt, weight)
    grad_proj = torch.cat([grad_low, g.B, g.C], dim=-1)
    grad_weight = torch.einsum("blkd,blkr->kdr", grad_dt, low)
    gradients = (g.x, grad_proj, grad_weight, grad_dt.sum(dim=(0, 1)), g.A, g.D)
    return tuple(_like(g, t) for g, t in zip(gradients, (x, proj, dt_weight, dt_bias, A, D), strict=True))


def selective_scan(
    core: Core, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, dt_bias: Tensor | None
) -> Tensor:
    """Forward of the one-dimensional scan; arguments as in `medmamba.ops.selective_scan`."""
    tokens, _ = _line_tokens(u, dt, A, B, C, D, dt_bias)
    y = core.forward(tokens, line_order(B.shape[1], u.shape[-1], u.device))
    return _like(_channels_first(y), u)


def selective_scan_backward(
    core: Core,
    grad: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
) -> tuple[Tensor, ...]:
    """Gradients of u, dt, A, B, C, D and dt_bias; an empty one where the argument was left out."""
    tokens, dt_full = _line_tokens(u, dt, A, B, C, D, dt_bias)
    order = line_order(B.shape[1], u.shape[-1], u.device)
    g = core.backward(_tokens_first(grad.to(tokens.x.dtype), B.shape[1]).contiguous(), tokens, order)
    grad_dt = g.s * torch.sigmoid(dt_full)  # (b, l, g, d)
    return (
        _like(_channels_first(g.x), u),
        _like(_channels_first(grad_dt), dt),
        _like(g.A, A),
        _like(_channels_first(g.B), B),
        _like(_channels_first(g.C), C),
        u.new_empty(0) if D is None else _like(g.D, D),
        u.new_empty(0) if dt_bias is None else _like(grad_dt.sum(dim=(0, 1)), dt_bias),
    )


def map_order(height: int, width: int, device: torch.device) -> Tensor:
    """Positions (4, h*w) in a map that each direction reads: rows, columns, and the reverses of these two."""
    rows = torch.arange(height * width, device=device)
    columns = rows.view(height, width).t().reshape(-1)
    return torch.stack([rows, columns, rows.flip(0), columns.flip(0)])


def line_order(groups: int, length: int, device: torch.device) -> Tensor:
    """Positions (g, l) that the one-dimensional scan reads: all in order."""
    return torch.arange(length, device=device).repeat(groups, 1)


def _map_tokens(
    x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor
) -> tuple[Tokens, Tensor]:
    """Tokens of a map, and dt before softplus, (b, l, k, d)."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    n, r = A.shape[-1], dt_weight.shape[-1]
    low, B, C = proj.to(dtype).flatten(1, 2).split([r, n, n], dim=-1)
    dt = torch.einsum("blkr,kdr->blkd", low, dt_weight.to(dtype)) + dt_bias.to(dtype)
    parts = (x.to(dtype).flatten(1, 2).unsqueeze(2), F.softplus(dt), A.to(dtype), B, C, D.to(dtype))
    return Tokens(*(part.contiguous() for part in parts)), dt


def _line_tokens(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, dt_bias: Tensor | None
) -> tuple[Tokens, Tensor]:
    """Tokens of a line of groups, and dt before softplus, (b, l, g, d)."""
    dtype = torch.promote_types(u.dtype, torch.float32)
    groups = B.shape[1]
    full = dt.to(dtype) if dt_bias is None else dt.to(dtype) + dt_bias.to(dtype)[:, None]
    full = _tokens_first(full, groups)
    skip = A.new_zeros(A.shape[0]) if D is None else D
    parts = (
        _tokens_first(u.to(dtype), groups),
        F.softplus(full),
        A.to(dtype).unflatten(0, (groups, -1)),
        B.to(dtype).permute(0, 3, 1, 2),
        C.to(dtype).permute(0, 3, 1, 2),
        skip.to(dtype).unflatten(0, (groups, -1)),
    )
    return Tokens(*(part.contiguous() for part in parts)), full


def _tokens_first(channels: Tensor, groups: int) -> Tensor:  # (b, g*d, l) -> (b, l, g, d)
    return channels.unflatten(1, (groups, -1)).permute(0, 3, 1, 2)


def _channels_first(tokens: Tensor) -> Tensor:  # (b, l, g, d) -> (b, g, d, l)
    return tokens.permute(0, 2, 3, 1)


def _like(value: Tensor, argument: Tensor) -> Tensor:
    """In the shape and dtype of an argument and contiguous, as the operators' fakes promise."""
    return value.reshape(argument.shape).to(argument.dtype).contiguous()
