"""Fewer operations for a network that will not be trained any more."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


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
