"""The operators in plain vectorised torch, scans a chunk of tokens at a time: any device, `torch.export`, ONNX.

Inside a chunk the recurrence h_t = a_t h_{t-1} + v_t is composed by doubling (Hillis & Steele 1986): after the step
with shift 2^i every token holds the effect of the 2^(i+1) tokens up to it. Only products of decays in (0, 1] and sums
occur, nothing is divided by a decay and no exponential of a positive number is taken: no step size can overflow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba.ops import reference
from medmamba.ops.sequences import Tokens

CHUNK = 32  # tokens; the memory of a chunk grows with it, the number of Python steps falls


def forward(tokens: Tokens, order: Tensor) -> Tensor:
    """Output of the scan; see `medmamba.ops.sequences` for the shapes."""
    x, s, A, B, C, D, _ = _unroll(tokens, order)
    h = x.new_zeros(x.shape[0], x.shape[1], *A.shape[1:])
    outputs = []
    for start in range(0, x.shape[2], CHUNK):
        part = slice(start, start + CHUNK)
        states, _ = _states(x[:, :, part], s[:, :, part], A, B[:, :, part], h)
        outputs.append((states * C[:, :, part, None]).sum(-1))
        h = states[:, :, -1]
    y = torch.cat(outputs, dim=2) + D[:, None] * x
    return _scatter(y, order, tokens.x.shape[2])


def backward(grad: Tensor, tokens: Tokens, order: Tensor) -> Tokens:
    """Gradients of the tokens, by the adjoint recurrence g_t = C_t y'_t + a_{t+1} g_{t+1}, chunks in reverse."""
    x, s, A, B, C, D, dt = _unroll(tokens, order)
    g = _gather(grad, order)
    starts = [x.new_zeros(x.shape[0], x.shape[1], *A.shape[1:])]
    bounds = range(0, x.shape[2], CHUNK)
    for start in bounds[:-1]:  # the states at the chunks' borders; the rest is computed again below
        part = slice(start, start + CHUNK)
        states, _ = _states(x[:, :, part], s[:, :, part], A, B[:, :, part], starts[-1])
        starts.append(states[:, :, -1])

    dA = torch.zeros_like(A)
    dx, ds, dB, dC = [], [], [], []
    carry = torch.zeros_like(starts[0])  # a_{t+1} g_{t+1} of the first token of the next chunk
    for start, h0 in zip(reversed(bounds), reversed(starts), strict=True):
        part = slice(start, start + CHUNK)
        xc, sc, Bc, Cc, gc = (t[:, :, part] for t in (x, s, B, C, g))
        states, decays = _states(xc, sc, A, Bc, h0)
        before = torch.cat([h0[:, :, None], states[:, :, :-1]], dim=2)
        adjoint = Cc[:, :, :, None] * gc[..., None]
        adjoint = torch.cat([adjoint[:, :, :-1], adjoint[:, :, -1:] + carry[:, :, None]], dim=2)
        following = torch.cat([decays[:, :, 1:], decays[:, :, :1]], dim=2)  # the last of it meets nothing
        adjoint = _compose(following.flip(2), adjoint.flip(2))[1].flip(2)
        carry = decays[:, :, 0] * adjoint[:, :, 0]

        through_input = (adjoint * Bc[:, :, :, None]).sum(-1)  # (b, k, c, d)
        through_decay = adjoint * decays * before  # (b, k, c, d, n)
        dx.append(sc * through_input)
        ds.append(xc * through_input + (through_decay * A[:, None]).sum(-1))
        dA += (through_decay * sc[..., None]).sum(dim=(0, 2))
        dB.append((adjoint * (sc * xc)[..., None]).sum(3))
        dC.append((states * gc[..., None]).sum(3))

    def whole(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts[::-1], dim=2)

    through_softplus = whole(ds) * torch.sigmoid(dt)
    return Tokens(
        x=_scatter(whole(dx) + D[:, None] * g, order, tokens.x.shape[2]),
        dt=_scatter(through_softplus, order, len(order)).permute(2, 0, 1, 3),
        A=dA,
        BC=_scatter(torch.cat([whole(dB), whole(dC)], dim=-1), order, len(order)),
        D=(g * x).sum(dim=(0, 2)),
    )


def _states(x: Tensor, s: Tensor, A: Tensor, B: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """States and decays (b, k, c, d, n) of a chunk that starts from the state h (b, k, d, n)."""
    decays = torch.exp(s[..., None] * A[:, None])
    reach, states = _compose(decays, (s * x)[..., None] * B[:, :, :, None])
    return states + reach * h[:, :, None], decays


def _compose(decays: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Inclusive scan of h_t = a_t h_{t-1} + v_t over dimension 2: products of decays, and h from h_0 = 0."""
    shift = 1
    while shift < decays.shape[2]:
        late = values[:, :, shift:] + decays[:, :, shift:] * values[:, :, :-shift]
        values = torch.cat([values[:, :, :shift], late], dim=2)
        decays = torch.cat([decays[:, :, :shift], decays[:, :, shift:] * decays[:, :, :-shift]], dim=2)
        shift *= 2
    return decays, values


def _unroll(tokens: Tokens, order: Tensor) -> tuple[Tensor, ...]:
    """x, steps, A, B, C, D and dt, every token tensor in the order of its scan, (b, k, l, ...)."""
    x, dt, A, BC, D = tokens
    dt = _gather(dt.permute(1, 2, 0, 3), order)
    n = A.shape[-1]
    B, C = _gather(BC[..., -2 * n :], order).split(n, dim=-1)
    return _gather(x, order), F.softplus(dt), A, B, C, D, dt


def _gather(values: Tensor, order: Tensor) -> Tensor:  # (b, l, k or 1, c) -> (b, k, l, c)
    return torch.stack([values[:, index, k % values.shape[2]] for k, index in enumerate(order)], dim=1)


def _scatter(values: Tensor, order: Tensor, j: int) -> Tensor:
    """Undo `_gather`, (b, k, l, c) -> (b, l, k, c); with j = 1 the k scans are summed, (b, l, 1, c)."""
    maps = torch.stack([values[:, k, index.argsort()] for k, index in enumerate(order)], dim=2)
    return maps if j == len(order) else maps.sum(dim=2, keepdim=True)


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise convolution and SiLU in the dtype of x, contiguous, as kernels give it."""
    return reference.conv_silu(x, weight.to(x.dtype), bias.to(x.dtype)).contiguous()


def conv_silu_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    x_, weight_, d = x.permute(0, 3, 1, 2), weight.to(x.dtype), x.shape[3]
    y = F.conv2d(x_, weight_, bias.to(x.dtype), padding=1, groups=d)
    grad = torch.ops.aten.silu_backward(grad.permute(0, 3, 1, 2).to(x.dtype), y)
    shape = ([d], [1, 1], [1, 1], [1, 1], False, [0, 0], d, [True, True, True])
    dx, dweight, dbias = torch.ops.aten.convolution_backward(grad, x_, weight_, *shape)
    return dx.permute(0, 2, 3, 1).contiguous(), dweight.to(weight.dtype).contiguous(), dbias.to(bias.dtype)
