"""A depthwise 3 x 3 convolution and SiLU, as one operator: what stands before the scan in SS2D."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from medmamba.ops import backend as backends
from medmamba.ops import reference


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """silu(conv(x) + bias), with zeros around the map.

    On a CUDA device one kernel does both and reads the map where it lies, also if that is a slice of a wider one, which
    cuDNN would have copied; the backward computes the convolution again and so keeps nothing but the arguments.
    Elsewhere, for what the kernels do not take, and where a backend was asked for that has none, it is torch's
    convolution and SiLU.

    Args:
        x: Map, (b, h, w, d).
        weight: One filter for each channel, (d, 1, 3, 3).
        bias: (d,).

    Returns:
        (b, h, w, d), in the dtype of x (where torch's convolution does it under autocast, in autocast's).

    Raises:
        BackendError: The backend asked for cannot run here.
    """
    name = backends.requested()
    if name in ("", "cuda") and x.device.type == "cuda" and x.shape[3] % 2 == 0 and x.numel():
        return torch.ops.medmamba.conv_silu(x.flatten(1, 2), weight, bias, x.shape[1], name).view(x.shape)
    return reference.conv_silu(x, weight, bias)


# to the operators maps are sequences, (b, h w, d), as to those of the cross-scan
ARGUMENTS = "Tensor x, Tensor weight, Tensor bias, SymInt h, str backend"
torch.library.define("medmamba::conv_silu", f"({ARGUMENTS}) -> Tensor")
torch.library.define("medmamba::conv_silu_backward", f"(Tensor grad, {ARGUMENTS}) -> (Tensor, Tensor, Tensor)")


@torch.library.impl("medmamba::conv_silu", "default")
def _conv_silu(x: Tensor, weight: Tensor, bias: Tensor, h: int, backend: str) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        run = backends.function("conv_silu", x, backend)
        return run(x.unflatten(1, (h, -1)), weight, bias).flatten(1, 2)


@torch.library.impl("medmamba::conv_silu_backward", "default")
def _conv_silu_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, h: int, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(x.device.type, enabled=False):
        run = backends.function("conv_silu", x, backend, "backward")
        dx, dweight, dbias = run(grad.unflatten(1, (h, -1)), x.unflatten(1, (h, -1)), weight, bias)
        return dx.flatten(1, 2), dweight, dbias


@torch.library.register_fake("medmamba::conv_silu")
def _(x: Tensor, weight: Tensor, bias: Tensor, h: int, backend: str) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.register_fake("medmamba::conv_silu_backward")
def _(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, h: int, backend: str) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in (x, weight, bias))


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.h, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
    return *torch.ops.medmamba.conv_silu_backward(grad, *ctx.saved_tensors, ctx.h, ctx.backend), None, None


torch.library.register_autograd("medmamba::conv_silu", _backward, setup_context=_setup_context)


@register_flop_formula(torch.ops.medmamba.conv_silu)
def _flops(x_shape, *shapes, **kwargs) -> int:  # type: ignore[no-untyped-def]
    return 2 * 9 * math.prod(x_shape)


@register_flop_formula(torch.ops.medmamba.conv_silu_backward)
def _backward_flops(grad_shape, x_shape, *shapes, **kwargs) -> int:  # type: ignore[no-untyped-def]
    return 2 * _flops(x_shape)
