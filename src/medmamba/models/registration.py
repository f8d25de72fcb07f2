"""Our models under their names in timm's registry."""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from medmamba.network import VARIANTS, build


def _register(name: str) -> None:
    def entrypoint(pretrained: bool = False, **arguments: Any) -> nn.Module:
        stages = len(arguments.get("depths", VARIANTS[name].depths))
        features = {"out_indices": tuple(range(stages)), "flatten_sequential": True}
        return build_model_with_cfg(partial(build, name), name, pretrained, feature_cfg=features, **arguments)

    entrypoint.__name__ = entrypoint.__qualname__ = name
    register_model(entrypoint)


# timm's description of each model: input, normalisation, names of its first and last layer; no weights
default_cfgs = generate_default_cfgs(
    {
        name: {
            "input_size": (3, 224, 224),
            "num_classes": 1000,
            "pool_size": (7, 7),
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "patch_embed.proj",
            "classifier": "head.fc",
        }
        for name in VARIANTS
    }
)
for _name in VARIANTS:
    _register(_name)
