"""The depthwise convolution with SiLU for NVIDIA cards; the kernels are in `cuda_conv.cu`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medmamba.ops.cuda_module import CONV, DTYPES, Kernels, load

STRIP = 8  # positions that a thread does in a row, as in the kernels
PARTS = 1 << 17  # threads that share the sums over positions, about: enough for a card, few enough to add up


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Forward; arguments as in `medmamba.ops.conv_silu`."""
    x, stride = _readable(x)
    y = x.new_empty(x.shape)
    _convolve(x, stride, weight, bias, y, adjoint=False)
    return y


def conv_silu_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    (b, h, w, d), (x, stride), grad = x.shape, _readable(x), _readable(grad.to(x.dtype).contiguous())[0]
    strips = b * h * -(-w // STRIP)
    parts = max(1, min(strips, PARTS // (d // 4)))
    before, dx = x.new_empty(x.shape), x.new_empty(x.shape)
    dweight = torch.empty(parts, d, 9, device=x.device)
    dbias = torch.empty(parts, d, device=x.device)
    tensors = [grad, x, *_parameters(weight, bias), before, dweight, dbias]
    _launch("conv_gradients", x, parts, [*tensors, parts, strips, h, w, d, stride])
    _convolve(before, d, weight, bias, dx, adjoint=True)
    return dx, dweight.sum(0).view(weight.shape).to(weight.dtype), dbias.sum(0).to(bias.dtype)


def _convolve(x: Tensor, stride: int, weight: Tensor, bias: Tensor, y: Tensor, *, adjoint: bool) -> None:
    b, h, w, d = y.shape
    strips = b * h * -(-w // STRIP)
    _launch("conv_forward", x, strips, [x, *_parameters(weight, bias), y, strips, h, w, d, stride, int(adjoint)])


def _launch(name: str, x: Tensor, rows: int, values: list[Any]) -> None:
    """Run a kernel with a thread for each row and every four channels."""
    kernels: Kernels = load(CONV, (f"-D{DTYPES[x.dtype]}",), x.device.index or 0)
    kernels.launch(name, (-(-rows * (x.shape[3] // 4) // kernels.threads[name]), 1, 1), values)


def _parameters(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return weight.detach().float().contiguous(), bias.detach().float().contiguous()


def _readable(x: Tensor) -> tuple[Tensor, int]:
    """A map whose positions lie evenly and whose channels lie side by side, and the distance of two positions."""
    _, h, w, _ = x.shape
    stride = x.stride(2)
    four = 4 * x.element_size()
    even = x.stride() == (h * w * stride, w * stride, stride, 1)
    if even and stride * x.element_size() % four == 0 and x.data_ptr() % four == 0:
        return x, stride
    x = x.contiguous()
    return (x if x.data_ptr() % four == 0 else x.clone()), x.shape[3]
