"""A network that will not be trained any more: fewer operations, and weights in the order in which they are read."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from medmamba.network.packed import FOLLOWING, PackedConv2d, can_pack
from medmamba.network.ss2d import SS2D


def for_inference(net: nn.Module) -> nn.Module:
    """Make a network as fast as it can be in plain PyTorch on its device, in place; it is the same but for rounding.

    Every BatchNorm that can be is folded, and weights are laid out in memory as they are read: those of convolutions
    channels-last, and on the CPU those of the scan with the channels side by side. Otherwise each call would copy them,
    which for one image takes a tenth of the time. On the CPU, convolutions in an `nn.Sequential` and before the scan
    are packed with the activation that follows (`medmamba.network.packed`).

    Args:
        net: In evaluation mode.

    Returns:
        `net`.

    Raises:
        ValueError: It is in training mode.
    """
    net = fold_batch_norms(net).to(memory_format=torch.channels_last)
    for scan in (module for module in net.modules() if isinstance(module, SS2D)):
        for weight in (scan.dt_weight, scan.A_log):
            if weight.device.type == "cpu":
                weight.data = weight.data.mT.contiguous().mT
        if can_pack(scan.conv):
            scan.conv, scan.activation = PackedConv2d(scan.conv, scan.activation), nn.Identity()
    pack_convolutions(net)
    return net


def pack_convolutions(net: nn.Module) -> None:
    """Pack every convolution in an `nn.Sequential` together with the activation after it, in place."""
    for sequence in [module for module in net.modules() if isinstance(module, nn.Sequential)]:
        for i, conv in enumerate(sequence):
            if can_pack(conv):
                # what a folded BatchNorm left behind stands between the two
                after = next((j for j in range(i + 1, len(sequence)) if type(sequence[j]) is not nn.Identity), None)
                following: nn.Module = nn.Identity()
                if after is not None and type(sequence[after]) in FOLLOWING:
                    following, sequence[after] = sequence[after], following
                sequence[i] = PackedConv2d(conv, following)


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """Fold every BatchNorm that follows a convolution in an `nn.Sequential` into that convolution, in place.

    The function is the same but for rounding. A BatchNorm before a convolution stays: the convolution pads its output
    with zeros, and folding would make something else of the border. Names of tensors change, so this is for inference
    alone.

    Args:
        net: In evaluation mode.

    Returns:
        `net`.

    Raises:
        ValueError: It is in training mode, where a BatchNorm depends on the batch.
    """
    if net.training:
        raise ValueError("the network is in training mode; call eval() before folding")
    for sequence in (module for module in net.modules() if isinstance(module, nn.Sequential)):
        for i in range(len(sequence) - 1):
            conv, norm = sequence[i], sequence[i + 1]
            # no subclass: timm has some that also activate, or standardise weights
            if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d and norm.running_var is not None:
                sequence[i], sequence[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return net
