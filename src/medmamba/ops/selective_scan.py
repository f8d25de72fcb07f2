"""The one-dimensional selective scan of Mamba, as an operator."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from medmamba.ops import backend as backends
from medmamba.ops import reference
from medmamba.ops.cross_scan import scan_flops


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    dt_bias: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Run the input-dependent linear recurrence of Mamba along the last axis.

    ``h_t = exp(s_t A) h_{t-1} + s_t B_t u_t``,  ``y_t = C_t . h_t + D u_t``,  ``s = softplus(dt + dt_bias)``
    (Gu & Dao 2023, algorithm 2).

    Args:
        u: Input, (b, g*d, l): g groups of d channels; float64, float32, bfloat16 or float16.
        dt: Step size before bias and softplus, (b, g*d, l).
        A: Decay rates, negative, (g*d, n).
        B: Input matrix, one a group, (b, g, n, l).
        C: Output matrix, one a group, (b, g, n, l).
        D: Skip weights, (g*d,).
        dt_bias: Added to `dt`, (g*d,).
        backend: "cpu", "chunked" or "reference" instead of the automatic choice; see `medmamba.ops.backend`.

    Returns:
        Output, (b, g*d, l), in the dtype of `u`. The state is kept in float32, or float64.

    Raises:
        ValueError: The shapes do not fit each other.
        BackendError: The backend asked for cannot run here.
    """
    _check(u, dt, A, B, C, D, dt_bias)
    name = backends.requested(backend)
    if name == backends.REFERENCE:
        return reference.selective_scan(u, dt, A, B, C, D, dt_bias)
    return torch.ops.medmamba.selective_scan(u, dt, A, B, C, D, dt_bias, name)


def _check(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, dt_bias: Tensor | None) -> None:
    b, channels, length = u.shape
    g, n = B.shape[1], A.shape[-1]
    if g == 0 or channels % g:
        raise ValueError(f"u has {channels} channels, which {g} groups of B cannot share evenly")
    expected = {
        "dt": (dt, (b, channels, length)),
        "A": (A, (channels, n)),
        "B": (B, (b, g, n, length)),
        "C": (C, (b, g, n, length)),
        "D": (D, (channels,)),
        "dt_bias": (dt_bias, (channels,)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}; for an input of {tuple(u.shape)} it must be {shape}")


ARGUMENTS = "Tensor u, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? dt_bias, str backend"
torch.library.define("medmamba::selective_scan", f"({ARGUMENTS}) -> Tensor")
torch.library.define(
    "medmamba::selective_scan_backward", f"(Tensor grad, {ARGUMENTS}) -> ({', '.join(['Tensor'] * 7)})"
)


@torch.library.impl("medmamba::selective_scan", "default")
def _selective_scan(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, dt_bias: Tensor | None, backend: str
) -> Tensor:
    with torch.autocast(u.device.type, enabled=False):
        return backends.function("selective_scan", u, backend)(u, dt, A, B, C, D, dt_bias)


@torch.library.impl("medmamba::selective_scan_backward", "default")
def _selective_scan_backward(
    grad: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    with torch.autocast(u.device.type, enabled=False):
        run = backends.function("selective_scan", u, backend, "backward")
        return run(grad, u, dt, A, B, C, D, dt_bias)


@torch.library.register_fake("medmamba::selective_scan")
def _(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, dt_bias: Tensor | None, backend: str
) -> Tensor:
    return u.new_empty(u.shape)


@torch.library.register_fake("medmamba::selective_scan_backward")
def _(
    grad: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    backend: str,
) -> tuple[Tensor, ...]:
    return tuple(u.new_empty(0) if t is None else t.new_empty(t.shape) for t in (u, dt, A, B, C, D, dt_bias))


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
    inputs = ctx.saved_tensors
    gradients = torch.ops.medmamba.selective_scan_backward(grad, *inputs, ctx.backend)
    return (*(None if t is None else g for t, g in zip(inputs, gradients, strict=True)), None)


torch.library.register_autograd("medmamba::selective_scan", _backward, setup_context=_setup_context)


@register_flop_formula(torch.ops.medmamba.selective_scan)
def _flops(u_shape, dt_shape, A_shape, B_shape, C_shape, D_shape, *args, **kwargs) -> int:  # type: ignore[no-untyped-def]
    b, channels, length = u_shape
    skip = 0 if D_shape is None else 2 * b * channels * length
    return scan_flops(b * length, channels, A_shape[-1]) + skip


@register_flop_formula(torch.ops.medmamba.selective_scan_backward)
def _backward_flops(grad_shape, *shapes, **kwargs) -> int:  # type: ignore[no-untyped-def]
    return 2 * _flops(*shapes)  # the usual convention: twice the forward
