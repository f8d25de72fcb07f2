"""Checkpoints of the published MedMamba code: their names to ours and back, and the network read off their tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from medmamba.errors import InputError
from medmamba.network import VARIANTS, MedMamba

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
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")  # keys that training scripts put around weights
PREFIXES = ("module.", "_orig_mod.", "model.")  # left by DataParallel, torch.compile and Lightning


@dataclass(frozen=True)
class Report:
    """How well a checkpoint fits: names of ours that were loaded or missing, and names in it that nothing takes."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    def __str__(self) -> str:
        words = [f"{len(self.loaded)} tensors loaded"]
        for label, names in (("missing", self.missing), ("unexpected", self.unexpected)):
            if names:
                words.append(f"{len(names)} {label} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})")
        return ", ".join(words)


def load_published(source: str | PathLike[str] | Mapping[str, Tensor], *, num_classes: int | None = None) -> MedMamba:
    """Build the network that a published checkpoint holds, with its weights, in evaluation mode.

    Args:
        source: A `.pth` file of the published code, or its state dict.
        num_classes: Replace the head by a new one of this size; None keeps the checkpoint's.

    Raises:
        InputError: The file cannot be read as plain weights, or is no MedMamba or VMamba checkpoint.
    """
    return load_with_report(source, num_classes=num_classes)[0]


def load_with_report(
    source: str | PathLike[str] | Mapping[str, Tensor], *, num_classes: int | None = None
) -> tuple[MedMamba, Report]:
    """As `load_published`, with the report of what fitted."""
    state = unwrap(source if isinstance(source, Mapping) else read_checkpoint(source))
    arguments = infer_arguments(state)
    model = MedMamba(**arguments)
    report = load_state(model, from_published(state))
    if num_classes is not None and num_classes != model.num_classes:
        model.reset_classifier(num_classes)
    return model.eval(), report


def read_checkpoint(path: str | PathLike[str]) -> Mapping[str, object]:
    """Read a `.pth` file without running anything in it.

    Raises:
        InputError: It is missing, is no checkpoint, or holds more than tensors and plain containers.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; give the path of a published checkpoint") from None
    except Exception as reason:  # torch raises a different class for each kind of damage
        first_line = str(reason).strip().splitlines()[0] if str(reason).strip() else type(reason).__name__
        raise InputError(
            f"{path} cannot be read as plain weights ({first_line}); save the model's state_dict alone and give that"
        ) from reason
    if not isinstance(state, Mapping):
        raise InputError(f"{path} holds a {type(state).__name__}; a state dict was expected")
    return state


def unwrap(state: Mapping[str, object]) -> dict[str, Tensor]:
    """Take off the wrappers and prefixes that training scripts leave around a state dict."""
    inner = next((state[key] for key in WRAPPERS if isinstance(state.get(key), Mapping)), None)
    if inner is not None:
        return unwrap(inner)  # type: ignore[arg-type]
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return unwrap({name.removeprefix(prefix): value for name, value in tensors.items()})
    return tensors


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
            "this is no checkpoint of the published MedMamba or VMamba code: of patch_embed.proj.weight, head.weight "
            f"and layers.0.blocks.0.self_attention.A_logs it must have all, but its tensors are {_some(state)}"
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


def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> Report:
    """Load tensors of equal name and shape, all but counters required.

    Raises:
        InputError: A parameter or statistic is missing, or has another shape.
    """
    own = model.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    report = Report(
        loaded=tuple(fitting),
        missing=tuple(name for name in own if name not in fitting),
        unexpected=tuple(name for name in state if name not in fitting),
    )
    if any(not name.endswith("num_batches_tracked") for name in report.missing):
        raise InputError(f"the checkpoint does not fit the network: {report}; give one of the published code")
    model.load_state_dict(fitting, strict=False)
    return report


def _some(names: Mapping[str, object]) -> str:
    listed = list(names)
    return f"{', '.join(listed[:3])}{', ...' if len(listed) > 3 else ''}" if listed else "none"
