"""The depthwise convolution with SiLU for NVIDIA cards; the kernels are in `cuda_conv.cu`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medmamba.ops.cuda_module import CONV, DTYPES, Kernels, load

LONGEST_STRIP = 16  # positions that a thread does in a row
PARTS = 3 << 15  # threads that share the sums over positions, about: as many as a large card holds at once


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Forward; arguments as in `medmamba.ops.conv_silu`."""
    x, stride = _readable(x)
    y = x.new_empty(x.shape)
    _convolve(x, stride, _parameters(weight, bias), y, adjoint=False)
    return y


def conv_silu_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    d, (x, stride), grad = x.shape[3], _readable(x), _readable(grad.to(x.dtype).contiguous())[0]
    _, strips = _strips(x)
    parts = max(1, min(strips, PARTS // (d // 2)))
    before, dx = x.new_empty(x.shape), x.new_empty(x.shape)
    sums = torch.empty(parts, 10, d, device=x.device)
    parameters = _parameters(weight, bias)
    _launch("conv_gradients", before, stride, parts, [grad, x, *parameters, before, sums, parts, strips])
    _convolve(before, d, parameters, dx, adjoint=True)
    dweight, dbias = sums.sum(0).tensor_split([9])
    return dx, dweight.t().contiguous().view(weight.shape).to(weight.dtype), dbias[0].to(bias.dtype)


def _convolve(x: Tensor, stride: int, parameters: tuple[Tensor, Tensor], y: Tensor, *, adjoint: bool) -> None:
    _, strips = _strips(y)
    _launch("conv_forward", y, stride, strips, [x, *parameters, y, strips, int(adjoint)])


def _launch(name: str, y: Tensor, stride: int, rows: int, values: list[Any]) -> None:
    """Run a kernel with a thread for each row and every two channels; the sizes of the map come after `values`."""
    _, h, w, d = y.shape
    kernels: Kernels = load(CONV, (f"-D{DTYPES[y.dtype]}",), y.device.index or 0)
    grid = (-(-rows * (d // 2) // kernels.threads[name]), 1, 1)
    kernels.launch(name, grid, [*values, h, w, d, stride, _strips(y)[0]])


def _strips(x: Tensor) -> tuple[int, int]:
    """How long strips are, about evenly, and how many there are in all."""
    b, h, w, _ = x.shape
    in_a_row = -(-w // LONGEST_STRIP)
    length = -(-w // in_a_row)
    return length, b * h * -(-w // length)


def _parameters(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """(9, d), so that neighbouring threads read neighbouring weights, and (d,)."""
    return weight.detach().float().flatten(1).t().contiguous(), bias.detach().float().contiguous()


def _readable(x: Tensor) -> tuple[Tensor, int]:
    """A map whose positions lie evenly and whose channels lie side by side, and the distance of two positions."""
    _, h, w, _ = x.shape
    stride = x.stride(2)
    two = 2 * x.element_size()
    even = x.stride() == (h * w * stride, w * stride, stride, 1)
    if even and stride * x.element_size() % two == 0 and x.data_ptr() % two == 0:
        return x, stride
    x = x.contiguous()
    return (x if x.data_ptr() % two == 0 else x.clone()), x.shape[3]
