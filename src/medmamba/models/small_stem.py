"""ResNets for small images, as MedMNIST's baselines at 28 pixels: their first layer keeps every pixel.

A 3 x 3 convolution of stride 1 stands in place of the 7 x 7 one of stride 2 and the pooling after it (Yang et al. 2023,
MedMNIST v2; He et al. 2016, section 4.2), so that 28 pixels end as a map of 4 x 4 and not of 1 x 1.
"""

from __future__ import annotations

from typing import Any

import timm
from timm.models import register_model
from torch import nn

NAMES = {"resnet18_small_stem": "resnet18", "resnet50_small_stem": "resnet50"}


def _register(name: str, whole: str) -> None:
    def entrypoint(pretrained: bool = False, **arguments: Any) -> nn.Module:
        net: Any = timm.create_model(whole, pretrained=False, **arguments)
        net.conv1 = nn.Conv2d(net.conv1.in_channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as timm's own
        net.maxpool = nn.Identity()
        return net

    entrypoint.__name__ = entrypoint.__qualname__ = name
    register_model(entrypoint)


for _name, _whole in NAMES.items():
    _register(_name, _whole)
