"""Our models under their names in timm's registry."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from medmamba import network
from medmamba.models import medvit

STAGES = 4  # of every row


def _register(name: str, build: Callable[..., nn.Module]) -> None:
    def entrypoint(pretrained: bool = False, **arguments: Any) -> nn.Module:
        depths = arguments.get("depths")
        stages = len(depths) if isinstance(depths, tuple | list) else STAGES  # others the network refuses
        features = {"out_indices": tuple(range(stages)), "flatten_sequential": True}
        return build_model_with_cfg(partial(build, name), name, pretrained, feature_cfg=features, **arguments)

    entrypoint.__name__ = entrypoint.__qualname__ = name
    register_model(entrypoint)


# timm's description of each model: input, normalisation, names of its first and last layer; no weights
_SHARED: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "num_classes": 1000,
    "pool_size": (7, 7),
    "fixed_input_size": False,
    "classifier": "head.fc",
}
_MEDMAMBA: dict[str, Any] = {
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "first_conv": "patch_embed.proj",
}
_MEDVIT: dict[str, Any] = {  # as its authors train on ImageNet
    "interpolation": "bicubic",
    "crop_pct": 224 / 256,
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
    "first_conv": "stem.0.conv",
}
_ROWS: dict[str, Any] = dict.fromkeys(network.VARIANTS, _SHARED | _MEDMAMBA)
_ROWS |= dict.fromkeys(medvit.VARIANTS, _SHARED | _MEDVIT)
default_cfgs = generate_default_cfgs(_ROWS)
for _name in network.VARIANTS:
    _register(_name, network.build)
for _name in medvit.VARIANTS:
    _register(_name, medvit.build)
