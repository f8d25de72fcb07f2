"""What a model costs: parameters, the paper's count of multiply-adds, and the full count of operations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

CONVENTION = (
    "of one image in evaluation mode; macs_conv_linear: multiply-adds of Conv2d and Linear modules alone, as the paper "
    "counts (without the x and dt projections, the scan, attention products, normalisation and activations); "
    "flops_total: two operations a multiply-add of all convolutions, matrix products, attention and scans, without "
    "element-wise work"
)


def complexity(model: nn.Module, image_size: tuple[int, int], channels: int) -> dict[str, Any]:
    """Count parameters and operations of a model by running it once on a blank image.

    Args:
        model: Any model that takes (1, channels, height, width), on any device, `meta` too; its mode is left as it was.
        image_size: Height and width in pixels.
        channels: Channels of the input.

    Returns:
        `parameters`, `macs_conv_linear`, `flops_total`, `flops_scan` (the part of `flops_total` in our scan operators),
        all integers; `image_size`, `channels`, and `convention`, which says in words what is counted.
    """
    parameter = next(model.parameters())
    image = torch.zeros(1, channels, *image_size, device=parameter.device, dtype=parameter.dtype)
    # the counter's module hooks stumble over tensors that require a gradient and have no graph (timm's cait)
    frozen = {name: tensor.detach() for name, tensor in model.named_parameters()}
    counter = FlopCounterMode(display=False)
    # fused attention has no formula on every device, plain attention is matrix products everywhere
    with _evaluating(model), _counting_macs(model) as macs, torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        functional_call(model, frozen, (image,))
    by_operator = {str(operator): flops for operator, flops in counter.get_flop_counts().get("Global", {}).items()}
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "macs_conv_linear": sum(macs),
        "flops_total": int(counter.get_total_flops()),
        "flops_scan": sum(
            int(flops) for name, flops in by_operator.items() if name.startswith("medmamba.") and "scan" in name
        ),
        "image_size": list(image_size),
        "channels": channels,
        "convention": CONVENTION,
    }


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, each module's own mode restored after."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _counting_macs(model: nn.Module) -> Iterator[list[int]]:
    """A list that grows by the multiply-adds of every convolution and linear layer that runs inside."""
    macs: list[int] = []

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            macs.append(output.numel() * module.in_channels // module.groups * math.prod(module.kernel_size))
        elif isinstance(module, nn.Linear):
            macs.append(output.numel() * module.in_features)

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        yield macs
    finally:
        for hook in hooks:
            hook.remove()
