"""The two-dimensional selective scan of MedMamba and VMamba, as one operator: four directions over one map."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from medmamba.ops import backend as backends
from medmamba.ops import reference


def cross_scan(
    x: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    *,
    backend: str | None = None,
) -> Tensor:
    """Scan a map row by row, column by column and in the reverses of these two, and sum the four outputs.

    In direction k, over the positions t in its order, with ``s_t = softplus(dt_weight dt_t + dt_bias)``,

        ``h_t = exp(s_t A) h_{t-1} + s_t B_t x_t``,  ``y_t = C_t . h_t + D x_t``

    (Yue & Li 2024, algorithm 1 and section 3.2.2, with ``s B`` for the zero-order hold as in the published code; Gu &
    Dao 2023, algorithm 2). No copy of the map is made for a direction by the backends that can do without.

    Args:
        x: Map, (b, h, w, d); float64, float32, bfloat16 or float16. The state is kept in float32, or float64.
        proj: What each position says to each direction, (b, h, w, 4, r + 2n): the low-rank step dt, then B, then C.
        dt_weight: From the low rank r to the step of each channel, (4, d, r).
        dt_bias: Added to the step before softplus, (4, d).
        A: Decay rates, negative, (4, d, n).
        D: Skip weights, (4, d).
        backend: "cpu", "cuda", "triton", "chunked" or "reference" instead of the automatic choice; see
            `medmamba.ops.backend`.

    Returns:
        The sum over directions of y, (b, h, w, d), in the dtype of `x`.

    Raises:
        ValueError: The shapes do not fit each other.
        BackendError: The backend asked for cannot run here.
    """
    _check(x, proj, dt_weight, dt_bias, A, D)
    name = backends.requested(backend)
    if name == backends.REFERENCE:
        return reference.cross_scan(x, proj, dt_weight, dt_bias, A, D)
    y = torch.ops.medmamba.cross_scan(x.flatten(1, 2), proj, dt_weight, dt_bias, A, D, name)
    return y.view(x.shape)


def scan_flops(tokens: int, channels: int, states: int) -> int:
    """Operations of a scan: 9 a token, channel and state, the Mamba literature's convention (exp counts as one)."""
    return 9 * tokens * channels * states


def _check(x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> None:
    b, h, w, d = x.shape
    n, r = A.shape[-1], dt_weight.shape[-1]
    expected = {
        "proj": (proj, (b, h, w, 4, r + 2 * n)),
        "dt_weight": (dt_weight, (4, d, r)),
        "dt_bias": (dt_bias, (4, d)),
        "A": (A, (4, d, n)),
        "D": (D, (4, d)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}; for a map of {tuple(x.shape)} it must be {shape}")


# `torch.library.custom_op` would do the same, but its first call imports torch._dynamo, which delays `predict`.
#
# To the operators maps are sequences, (b, h w, d), and proj tells h and w: what has four dimensions in a graph with
# convolutions inductor takes for (b, c, h, w) and lays out channels-last, the worst order there is for (b, h, w, d).
ARGUMENTS = "Tensor x, Tensor proj, Tensor dt_weight, Tensor dt_bias, Tensor A, Tensor D, str backend"
torch.library.define("medmamba::cross_scan", f"({ARGUMENTS}) -> Tensor")
torch.library.define("medmamba::cross_scan_backward", f"(Tensor grad, {ARGUMENTS}) -> ({', '.join(['Tensor'] * 6)})")


@torch.library.impl("medmamba::cross_scan", "default")
def _cross_scan(
    x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, backend: str
) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        run = backends.function("cross_scan", x, backend)
        return run(_map(x, proj), proj, dt_weight, dt_bias, A, D).flatten(1, 2)


@torch.library.impl("medmamba::cross_scan_backward", "default")
def _cross_scan_backward(
    grad: Tensor,
    x: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    backend: str,
) -> tuple[Tensor, ...]:
    with torch.autocast(x.device.type, enabled=False):
        run = backends.function("cross_scan", x, backend, "backward")
        dx, *others = run(_map(grad, proj), _map(x, proj), proj, dt_weight, dt_bias, A, D)
        return dx.flatten(1, 2), *others


def _map(x: Tensor, proj: Tensor) -> Tensor:
    """(b, h w, d) to (b, h, w, d)."""
    return x.unflatten(1, proj.shape[1:3])


@torch.library.register_fake("medmamba::cross_scan")
def _(x: Tensor, *others: Tensor | str) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.register_fake("medmamba::cross_scan_backward")
def _(grad: Tensor, *arguments: Tensor | str) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in arguments if isinstance(t, Tensor))


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
    gradients = torch.ops.medmamba.cross_scan_backward(grad, *ctx.saved_tensors, ctx.backend)
    return (*gradients, None)


torch.library.register_autograd("medmamba::cross_scan", _backward, setup_context=_setup_context)


@register_flop_formula(torch.ops.medmamba.cross_scan)
def _flops(x_shape, proj_shape, dt_weight_shape, dt_bias_shape, A_shape, D_shape, *args, **kwargs) -> int:  # type: ignore[no-untyped-def]
    b, length, d = x_shape
    tokens, (k, _, n), r = b * length, A_shape, dt_weight_shape[-1]
    step_and_skip = 2 * tokens * k * d * (r + 1)  # multiply-adds of the dt projection and of D, two operations each
    return scan_flops(tokens * k, d, n) + step_and_skip


@register_flop_formula(torch.ops.medmamba.cross_scan_backward)
def _backward_flops(grad_shape, *shapes, **kwargs) -> int:  # type: ignore[no-untyped-def]
    return 2 * _flops(*shapes)  # the usual convention: twice the forward
