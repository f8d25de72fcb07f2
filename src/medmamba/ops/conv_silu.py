"""A depthwise 3 x 3 convolution and SiLU, as one operator: what stands before the scan in SS2D."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

log = logging.getLogger(__name__)

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """silu(conv(x) + bias), with zeros around the map.

    On a CUDA device one kernel does both and reads the map where it lies, also if that is a slice of a wider one, which
    cuDNN would have copied; the backward computes the convolution again and so keeps nothing but the arguments.
    Elsewhere, and for what the kernels do not take, it is torch's convolution and SiLU.

    Args:
        x: Map, (b, h, w, d).
        weight: One filter for each channel, (d, 1, 3, 3).
        bias: (d,).

    Returns:
        (b, h, w, d), in the dtype of x (under autocast off a CUDA device in autocast's).
    """
    if x.device.type == "cuda" and x.dtype in DTYPES and x.shape[3] % 2 == 0 and x.numel():
        return torch.ops.medmamba.conv_silu(x.flatten(1, 2), weight, bias, x.shape[1]).view(x.shape)
    return plain(x, weight, bias)


def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same by torch's own operators."""
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=x.shape[3])
    return F.silu(y.permute(0, 2, 3, 1))


def plain_forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same in the dtype of x, contiguous, as the kernels give it."""
    return plain(x, weight.to(x.dtype), bias.to(x.dtype)).contiguous()


def plain_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias by torch's own operators."""
    x_, weight_ = x.permute(0, 3, 1, 2), weight.to(x.dtype)
    d = x.shape[3]
    y = F.conv2d(x_, weight_, bias.to(x.dtype), padding=1, groups=d)
    grad = torch.ops.aten.silu_backward(grad.permute(0, 3, 1, 2).to(x.dtype), y)
    shape = ([d], [1, 1], [1, 1], [1, 1], False, [0, 0], d, [True, True, True])
    dx, dweight, dbias = torch.ops.aten.convolution_backward(grad, x_, weight_, *shape)
    return dx.permute(0, 2, 3, 1).contiguous(), dweight.to(weight.dtype).contiguous(), dbias.to(bias.dtype)


_verdict: dict[str, str | None] = {}  # "kernels" -> why they cannot run, once they were tried


def _function(name: str, fallback: Callable[..., Any]) -> Callable[..., Any]:
    """The kernels' implementation where they work, torch's otherwise; said once, since it is slower."""
    if "kernels" not in _verdict:
        _verdict["kernels"] = _self_test()
        if reason := _verdict["kernels"]:
            log.warning("the fused convolution is not used on cuda, torch's is: %s", reason)
    if _verdict["kernels"] is not None:
        return fallback
    from medmamba.ops import cuda_conv

    function: Callable[..., Any] = getattr(cuda_conv, name)
    return function


def _self_test() -> str | None:
    """Compare with torch on a small map, forward and backward; the reason for a failure, or None."""
    x, grad = (torch.arange(60.0, device="cuda").mul(rate).sin().view(1, 3, 5, 4) for rate in (0.7, 0.3))
    weight, bias = torch.arange(36.0, device="cuda").mul(0.9).sin().view(4, 1, 3, 3), torch.ones(4, device="cuda")
    try:
        from medmamba.ops import cuda_conv

        actual = [cuda_conv.conv_silu(x, weight, bias), *cuda_conv.conv_silu_backward(grad, x, weight, bias)]
    except Exception as reason:  # whatever a broken driver or package raises, torch's own can still run
        return f"{type(reason).__name__}: {reason}"
    case = [t.double().cpu() for t in (x, weight, bias)]
    truth = [plain(*case), *plain_backward(grad.double().cpu(), *case)]
    errors = [(value.double().cpu() - exact).norm() / exact.norm() for value, exact in zip(actual, truth, strict=True)]
    worst = max(errors)
    return None if worst < 1e-4 else f"its self-test is off by {worst:.1e}"


# to the operators maps are sequences, (b, h w, d), as to those of the cross-scan
ARGUMENTS = "Tensor x, Tensor weight, Tensor bias, SymInt h"
torch.library.define("medmamba::conv_silu", f"({ARGUMENTS}) -> Tensor")
torch.library.define("medmamba::conv_silu_backward", f"(Tensor grad, {ARGUMENTS}) -> (Tensor, Tensor, Tensor)")


@torch.library.impl("medmamba::conv_silu", "default")
def _conv_silu(x: Tensor, weight: Tensor, bias: Tensor, h: int) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        run = plain_forward if x.device.type != "cuda" else _function("conv_silu", plain_forward)
        return run(x.unflatten(1, (h, -1)), weight, bias).flatten(1, 2)


@torch.library.impl("medmamba::conv_silu_backward", "default")
def _conv_silu_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, h: int) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(x.device.type, enabled=False):
        run = plain_backward if x.device.type != "cuda" else _function("conv_silu_backward", plain_backward)
        dx, dweight, dbias = run(grad.unflatten(1, (h, -1)), x.unflatten(1, (h, -1)), weight, bias)
        return dx.flatten(1, 2), dweight, dbias


@torch.library.register_fake("medmamba::conv_silu")
def _(x: Tensor, weight: Tensor, bias: Tensor, h: int) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.register_fake("medmamba::conv_silu_backward")
def _(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, h: int) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in (x, weight, bias))


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.h = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
    return *torch.ops.medmamba.conv_silu_backward(grad, *ctx.saved_tensors, ctx.h), None


torch.library.register_autograd("medmamba::conv_silu", _backward, setup_context=_setup_context)


@register_flop_formula(torch.ops.medmamba.conv_silu)
def _flops(x_shape, *shapes, **kwargs) -> int:  # type: ignore[no-untyped-def]
    return 2 * 9 * math.prod(x_shape)


@register_flop_formula(torch.ops.medmamba.conv_silu_backward)
def _backward_flops(grad_shape, x_shape, *shapes, **kwargs) -> int:  # type: ignore[no-untyped-def]
    return 2 * _flops(x_shape)
