"""Checkpoints of the published MedMamba code: their names to ours and back, and the network read off their tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medmamba.errors import InputError
from medmamba.network import VARIANTS

# published part of a name -> ours
NAMES = {
    "ln_1": "norm",
    "self_attention": "ss2d",
    "conv33conv33conv11": "conv",
    "conv2d": "conv",
    "out_norm": "norm",
    "dt_projs_weight": "dt_weight",
    "dt_projs_bias": "dt_bias",
    "A_logs": "A_log",
    "Ds": "D",
}


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names and shapes to ours."""
    renamed = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "layers" and len(parts) > 2 and parts[1].isdigit():
            # a published stage ends with its patch merging, ours begins with it
            stage = int(parts[1]) + (parts[2] == "downsample")
            parts[:2] = ["stages", str(stage)]
        if parts[0] == "head":
            parts.insert(1, "fc")
        ours = ".".join(NAMES.get(part, part) for part in parts)
        if ours.endswith((".A_log", ".D")):
            value = value.unflatten(0, (4, -1))
        renamed[ours] = value
    return renamed


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names and shapes to published ones: the exact inverse of `from_published`."""
    back = {ours: published for published, ours in NAMES.items() if ours not in ("conv", "norm")}
    renamed = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "stages":
            merging = parts[2] == "downsample"
            parts[:2] = ["layers", str(int(parts[1]) - merging)]
            if not merging:
                inside = "ss2d" in parts
                local = (
                    {"conv": "conv2d", "norm": "out_norm"} if inside else {"conv": "conv33conv33conv11", "norm": "ln_1"}
                )
                parts = [{**back, **local}.get(part, part) for part in parts]
        if parts[0] == "head":
            parts.remove("fc")
        renamed[".".join(parts)] = value.flatten(0, 1) if name.endswith((".A_log", ".D")) else value
    return renamed


def infer_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the network that a published state dict belongs to, read off its names and shapes.

    Raises:
        InputError: It is no checkpoint of the published code.
    """
    blocks = [re.match(r"layers\.(\d+)\.blocks\.(\d+)\.", name) for name in state]
    found = sorted({(int(m[1]), int(m[2])) for m in blocks if m})
    stem, head = state.get("patch_embed.proj.weight"), state.get("head.weight")
    rates = state.get("layers.0.blocks.0.self_attention.A_logs")
    if not found or stem is None or head is None or rates is None:
        raise InputError(
            "this is no checkpoint of the published MedMamba, VMamba or MedViT code: of patch_embed.proj.weight, "
            "head.weight and layers.0.blocks.0.self_attention.A_logs it must have all, or of MedViT "
            f"stem.0.conv.weight and features.0, but its tensors are {_some(state)}"
        )
    stages = range(found[-1][0] + 1)
    widths = [stem.shape[0]]
    for i in stages[:-1]:
        reduction = state.get(f"layers.{i}.downsample.reduction.weight")
        if reduction is None:
            raise InputError(f"the checkpoint lacks layers.{i}.downsample.reduction.weight; it is not whole")
        widths.append(reduction.shape[0])
    convolves = any(".conv33conv33conv11." in name for name in state)
    splits = state["layers.0.blocks.0.ln_1.weight"].shape[0] != widths[0]
    return {
        "in_chans": stem.shape[1],
        "num_classes": head.shape[0],
        "depths": tuple(sum(stage == i for stage, _ in found) for i in stages),
        "widths": tuple(widths),
        "patch_size": stem.shape[-1],
        "state_size": rates.shape[1],
        "block": ("split" if splits else "sum") if convolves else "scan",
        "final_norm": "norm.weight" in state,
    }


def variant_name(arguments: Mapping[str, object]) -> str:
    """Registered name with the depths, widths, block and norm of `arguments`, else the nearest one in kind."""
    keys = ("depths", "widths", "block", "final_norm")
    for name, row in VARIANTS.items():
        if all(getattr(row, key) == arguments[key] for key in keys):
            return name
    return next(name for name, row in VARIANTS.items() if row.block == arguments["block"])


def _some(names: Mapping[str, object]) -> str:
    listed = list(names)
    return f"{', '.join(listed[:3])}{', ...' if len(listed) > 3 else ''}" if listed else "none"
