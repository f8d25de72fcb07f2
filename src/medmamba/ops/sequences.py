"""Both scans over one core: what the chunked and the compiled CPU implementation share.

A core works on tokens. With `l` tokens, `k` independent scans (directions, or groups of channels), `d` channels in each
and `n` states, it takes

    x      (b, l, j, d)  input, j = k, or j = 1 where all k scans read the same input and their outputs are summed
    dt     (k, b, l, d)  step sizes before softplus
    A      (k, d, n)     decay rates, negative
    BC     (b, l, k, c)  its last 2n columns are B and C
    D      (k, d)        skip weights
    order  (k, l)        the position that each scan reads at each time

all contiguous and of one dtype, and gives y of x's shape; its backward gives the gradients of x, dt, A, BC (the last
2n columns) and D.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Tokens(NamedTuple):
    """Arguments of a core; see the module's text for the shapes."""

    x: Tensor
    dt: Tensor
    A: Tensor
    BC: Tensor
    D: Tensor


class Core(Protocol):
    """An implementation of the recurrence; a module with these two functions is one."""

    def forward(self, tokens: Tokens, order: Tensor) -> Tensor: ...

    def backward(self, grad: Tensor, tokens: Tokens, order: Tensor) -> Tokens: ...


def cross_scan(core: Core, x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> Tensor:
    """Forward of the two-dimensional scan; arguments as in `medmamba.ops.cross_scan`."""
    tokens = _map_tokens(x, proj, dt_weight, dt_bias, A, D)
    return like(core.forward(tokens, map_order(x.shape[1], x.shape[2], x.device)), x)


def cross_scan_backward(
    core: Core, grad: Tensor, x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of x, proj, dt_weight, dt_bias, A and D."""
    tokens = _map_tokens(x, proj, dt_weight, dt_bias, A, D)
    order = map_order(x.shape[1], x.shape[2], x.device)
    g = core.backward(grad.to(tokens.x.dtype).reshape(tokens.x.shape).contiguous(), tokens, order)
    grad_dt = g.dt.flatten(1, 2)  # (k, b*l, d)
    low, weight = _low_rank(tokens.BC, dt_weight)
    grad_low = (grad_dt @ weight).transpose(0, 1).unflatten(0, tokens.BC.shape[:2])  # (b, l, k, r)
    grad_weight = grad_dt.transpose(1, 2) @ low
    gradients = (g.x, torch.cat([grad_low, g.BC], dim=-1), grad_weight, grad_dt.sum(dim=1), g.A, g.D)
    return tuple(like(g, t) for g, t in zip(gradients, (x, proj, dt_weight, dt_bias, A, D), strict=True))


def selective_scan(
    core: Core, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, dt_bias: Tensor | None
) -> Tensor:
    """Forward of the one-dimensional scan; arguments as in `medmamba.ops.selective_scan`."""
    tokens = _line_tokens(u, dt, A, B, C, D, dt_bias)
    y = core.forward(tokens, line_order(B.shape[1], u.shape[-1], u.device))
    return like(_channels_first(y), u)


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
    tokens = _line_tokens(u, dt, A, B, C, D, dt_bias)
    order = line_order(B.shape[1], u.shape[-1], u.device)
    g = core.backward(_tokens_first(grad.to(tokens.x.dtype), B.shape[1]).contiguous(), tokens, order)
    grad_B, grad_C = _channels_first(g.BC).chunk(2, dim=2)
    return (
        like(_channels_first(g.x), u),
        like(g.dt.permute(1, 0, 3, 2), dt),
        like(g.A, A),
        like(grad_B, B),
        like(grad_C, C),
        u.new_empty(0) if D is None else like(g.D, D),
        u.new_empty(0) if dt_bias is None else like(g.dt.sum(dim=(1, 2)), dt_bias),
    )


def map_order(height: int, width: int, device: torch.device) -> Tensor:
    """Positions (4, h*w) in a map that each direction reads: rows, columns, and the reverses of these two."""
    rows = torch.arange(height * width, device=device)
    columns = rows.view(height, width).t().reshape(-1)
    return torch.stack([rows, columns, rows.flip(0), columns.flip(0)])


def line_order(groups: int, length: int, device: torch.device) -> Tensor:
    """Positions (g, l) that the one-dimensional scan reads: all in order."""
    return torch.arange(length, device=device).repeat(groups, 1)


def _map_tokens(x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> Tokens:
    dtype = torch.promote_types(x.dtype, torch.float32)
    b, length = x.shape[0], x.shape[1] * x.shape[2]
    BC = proj.to(dtype).flatten(1, 2)  # with the low-rank dt before B and C
    low, weight = _low_rank(BC, dt_weight)
    dt = torch.baddbmm(dt_bias.to(dtype)[:, None], low, weight.transpose(1, 2))  # (k, b*l, d)
    parts = (x.to(dtype).reshape(b, length, 1, -1), dt.unflatten(1, (b, length)), A.to(dtype), BC, D.to(dtype))
    return Tokens(*(part.contiguous() for part in parts))


def _low_rank(BC: Tensor, dt_weight: Tensor) -> tuple[Tensor, Tensor]:
    """The low-rank dt of every direction, (k, b*l, r), and its weight (k, d, r), in one dtype."""
    return BC[..., : dt_weight.shape[-1]].flatten(0, 1).transpose(0, 1), dt_weight.to(BC.dtype)


def _line_tokens(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, dt_bias: Tensor | None
) -> Tokens:
    dtype = torch.promote_types(u.dtype, torch.float32)
    groups = B.shape[1]
    full = dt.to(dtype) if dt_bias is None else dt.to(dtype) + dt_bias.to(dtype)[:, None]
    skip = A.new_zeros(A.shape[0]) if D is None else D
    parts = (
        _tokens_first(u.to(dtype), groups),
        full.unflatten(1, (groups, -1)).permute(1, 0, 3, 2),
        A.to(dtype).unflatten(0, (groups, -1)),
        torch.cat([B, C], dim=2).to(dtype).permute(0, 3, 1, 2),
        skip.to(dtype).unflatten(0, (groups, -1)),
    )
    return Tokens(*(part.contiguous() for part in parts))


def _tokens_first(channels: Tensor, groups: int) -> Tensor:  # (b, g*d, l) -> (b, l, g, d)
    return channels.unflatten(1, (groups, -1)).permute(0, 3, 1, 2)


def _channels_first(tokens: Tensor) -> Tensor:  # (b, l, g, d) -> (b, g, d, l)
    return tokens.permute(0, 2, 3, 1)


def like(value: Tensor, argument: Tensor) -> Tensor:
    """In the shape and dtype of an argument and contiguous, as the operators' fakes promise."""
    return value.reshape(argument.shape).to(argument.dtype).contiguous()
