"""Convolutions on a processor with weights in the order in which oneDNN computes, and what follows them in one pass.

PyTorch's own convolution puts the weights into that order in every call, which for one image takes longer than some of
the convolutions; and it does not use oneDNN at all for one small map. The operators are those that PyTorch's compiler
puts into its CPU code; here no compiler is needed.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

# oneDNN's names of what can follow a convolution
FOLLOWING: dict[type[nn.Module], str] = {
    nn.Identity: "none",
    nn.ReLU: "relu",
    nn.SiLU: "swish",
    nn.Hardswish: "hardswish",
}


class PackedConv2d(nn.Conv2d):
    """A convolution and the activation that follows it, (b, c, h, w) -> (b, c', h', w'), for inference on a processor.

    While gradients are recorded, under autocast, in a graph that is being captured, and for other dtypes or devices it
    is the two modules that it was made from. Weights that are changed in place, or replaced, are packed anew; a copy
    packs its own.

    Args:
        conv: See `can_pack`.
        activation: One of the classes in `FOLLOWING`.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            bias=conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias, self.activation = conv.weight, conv.bias, activation
        self._packed: tuple[object, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # torch cannot copy what oneDNN has laid out

    def forward(self, x: Tensor) -> Tensor:
        if not _can_run(x):
            out: Tensor = self.activation(super().forward(x))
            return out
        packed = self._packed  # read once: other threads may be here with images of another size
        weight = self.weight
        # the best order depends on the size, and others are far slower
        key = x.shape, weight.data_ptr(), None if weight.is_inference() else weight._version
        if packed is None or packed[0] != key:
            packed = self._packed = (key, self._reordered(x.shape))
        following, shape = FOLLOWING[type(self.activation)], (self.padding, self.stride, self.dilation, self.groups)
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(x, packed[1], self.bias, *shape, following, [], "")
        return y

    def _reordered(self, size: torch.Size) -> Tensor:
        shape = self.padding, self.stride, self.dilation, self.groups
        weight: Tensor = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *shape, list(size))
        return weight


def can_pack(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a plain convolution whose weights can be packed here."""
    return (
        type(conv) is nn.Conv2d
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and conv.weight.device.type == "cpu"
        and conv.weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


def _can_run(x: Tensor) -> bool:
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and x.numel() > 0 and not torch.is_grad_enabled() and not torch.compiler.is_compiling()
