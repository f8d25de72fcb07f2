"""Checkpoints of the published MedViT code: their names to ours and back, and the network read off their tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medmamba.errors import InputError
from medmamba.models.medvit import RATIOS, VARIANTS
from medmamba.models.medvit_blocks import round32

# published beginning of a name inside a block -> ours; others are the same
INSIDE = {
    "patch_embed.": "embed.",
    "mhca.group_conv3x3.": "mhca.group_conv.",
    "e_mhsa.": "attention.",
    "conv.conv.0.": "lffn.expand.",
    "conv.conv.1.": "lffn.expand_norm.",
    "conv.conv.3.": "lffn.depthwise.",
    "conv.conv.4.": "lffn.depthwise_norm.",
    "conv.conv.6.fc.0.": "lffn.gate.reduce.",
    "conv.conv.6.fc.2.": "lffn.gate.expand.",
    "conv.conv.7.": "lffn.project.",
    "conv.conv.8.": "lffn.project_norm.",
}
HEAD = ("proj_head.0.", "head.fc.")
MIX = 0.75  # as published; tried first, because rounding hides which one it was


def is_medvit(state: Mapping[str, object]) -> bool:
    """Whether a state dict is a MedViT's, by published names or ours."""
    return "stem.0.conv.weight" in state and any(name.startswith(("features.", "stages.")) for name in state)


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names to ours; names that the published code does not use stay as they are.

    Raises:
        InputError: Its stages cannot be told from its names.
    """
    firsts = _firsts(_depths(state))
    renamed = {}
    for name, value in state.items():
        if found := re.match(r"features\.(\d+)\.(.+)", name):
            k = int(found[1])
            stage = max(i for i, first in enumerate(firsts) if first <= k)
            name = f"stages.{stage}.{k - firsts[stage]}.{_replaced(found[2], INSIDE)}"
        renamed[_replaced(name, dict([HEAD]))] = value
    return renamed


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names to published ones: the exact inverse of `from_published`."""
    blocks = {(int(m[1]), int(m[2])) for m in (re.match(r"stages\.(\d+)\.(\d+)\.", name) for name in state) if m}
    firsts = _firsts([sum(stage == i for stage, _ in blocks) for i in range(max(blocks)[0] + 1)])
    inside = {ours: published for published, ours in INSIDE.items()}
    renamed = {}
    for name, value in state.items():
        if found := re.match(r"stages\.(\d+)\.(\d+)\.(.+)", name):
            name = f"features.{firsts[int(found[1])] + int(found[2])}.{_replaced(found[3], inside)}"
        renamed[_replaced(name, dict([HEAD[::-1]]))] = value
    return renamed


def infer_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the network that a published state dict belongs to, read off its names and shapes.

    Where tokens are pooled, by how many is not in the weights: the published ratios are taken.

    Raises:
        InputError: A tensor is missing, or the widths are those of no such network.
    """
    depths = _depths(state)
    widths: list[tuple[int, ...]] = []
    ratios: list[int] = []
    attended: list[tuple[int, int]] = []
    for i, (first, depth) in enumerate(zip(_firsts(depths), depths, strict=True)):
        last = first + depth - 1
        width = _width(state, f"features.{first}.norm.weight", f"features.{first}.norm2.weight")
        if i == 0:
            widths.append((width,))
            ratios.append(RATIOS[0])
            continue
        attended.append(
            (_width(state, f"features.{last}.norm1.weight"), _width(state, f"features.{last}.norm2.weight"))
        )
        widths.append((width, attended[-1][1]))
        pools = f"features.{last}.e_mhsa.norm.weight" in state
        if pools and RATIOS[i] == 1:
            raise InputError(
                f"features.{last} of the checkpoint pools its keys, by a ratio that is not in the weights and that no "
                "published MedViT has; give a checkpoint of a published size"
            )
        ratios.append(RATIOS[i] if pools else 1)
    head = state.get(HEAD[0] + "weight")
    stem = _tensor(state, "stem.0.conv.weight")
    return {
        "in_chans": stem.shape[1],
        "num_classes": 0 if head is None else head.shape[0],
        "stem_widths": tuple(_width(state, f"stem.{i}.conv.weight") for i in range(3)),
        "depths": tuple(depths),
        "widths": tuple(widths),
        "head_dim": _tensor(state, "features.0.mhca.group_conv3x3.weight").shape[1],
        "mix": _mix(attended),
        "ratios": tuple(ratios),
    }


def variant_name(arguments: Mapping[str, object]) -> str:
    """Registered name with the depths of `arguments`, else the smallest."""
    named = (name for name, row in VARIANTS.items() if row.depths == arguments["depths"])
    return next(named, next(iter(VARIANTS)))


def _depths(state: Mapping[str, object]) -> list[int]:
    """Blocks of each stage: the second begins where the map shrinks first, and each but the first ends in an LTB."""
    found = [re.match(r"features\.(\d+)\.", name) for name in state]
    number = max((int(m[1]) for m in found if m), default=-1) + 1
    transformers = [k for k in range(number) if f"features.{k}.e_mhsa.q.weight" in state]
    shrinking = [k for k in range(1, number) if f"features.{k}.patch_embed.conv.weight" in state]
    if len(transformers) < 3 or transformers[-1] != number - 1 or not shrinking or shrinking[0] > transformers[0]:
        raise InputError(
            f"of the {number} blocks of this MedViT checkpoint, {len(transformers)} have attention (e_mhsa.q.weight), "
            "which are not the four stages of a whole one; give a checkpoint of the published code"
        )
    ends = [shrinking[0], transformers[0] + 1, transformers[-2] + 1, number]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def _firsts(depths: list[int]) -> list[int]:
    """Number, in the whole network, of the first block of each stage."""
    return [sum(depths[:i]) for i in range(len(depths))]


def _mix(attended: list[tuple[int, int]]) -> float:
    """The share of channels for attention that gives these numbers, of (attention, all)."""
    for mix in (MIX, *(a / o for a, o in attended)):
        if all(round32(int(o * mix)) == a for a, o in attended):
            return mix
    pairs = ", ".join(f"{a} of {o}" for a, o in attended)
    raise InputError(
        f"the transformer blocks of the checkpoint have {pairs} channels for attention, which no one share gives; "
        "give a checkpoint of the published code"
    )


def _replaced(name: str, table: Mapping[str, str]) -> str:
    """The name with its beginning replaced, where the table has it."""
    begin = next((begin for begin in table if name.startswith(begin)), "")
    return table.get(begin, "") + name.removeprefix(begin)


def _tensor(state: Mapping[str, Tensor], *names: str) -> Tensor:
    """The first of these tensors that is there."""
    found = next((state[name] for name in names if name in state), None)
    if found is None or found.ndim == 0:
        raise InputError(f"the checkpoint lacks {names[0]}; it is not whole")
    return found


def _width(state: Mapping[str, Tensor], *names: str) -> int:
    return _tensor(state, *names).shape[0]
