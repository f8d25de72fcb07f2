"""Checkpoints of published code: whose they are, and the network that they hold, with its weights.

Names and shapes of each code are in a module of its own, with the same functions: `medmamba_checkpoint` for MedMamba
and VMamba, `medvit_checkpoint` for MedViT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from medmamba.errors import InputError, one_line
from medmamba.models import medmamba_checkpoint, medvit, medvit_checkpoint
from medmamba.models.medvit import MedViT
from medmamba.network import MedMamba

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


@dataclass(frozen=True)
class Published:
    """What a published state dict is.

    Attributes:
        model: Registered name of its network, or of the nearest one in kind.
        arguments: Of the network.
        state: Its tensors under our names.
    """

    model: str
    arguments: dict[str, Any]
    state: dict[str, Tensor]

    def load(self, num_classes: int | None = None) -> tuple[MedMamba | MedViT, Report]:
        """The network with these weights, in evaluation mode, and the report of what fitted.

        Args:
            num_classes: Replace the head by a new one of this size; None keeps the checkpoint's.

        Raises:
            InputError: The tensors do not fit.
        """
        kind = MedViT if self.model in medvit.VARIANTS else MedMamba
        try:
            model = kind(**self.arguments)
        except ValueError as reason:
            raise InputError(f"the checkpoint is of no network that can be built: {reason}") from reason
        report = load_state(model, self.state)
        if num_classes is not None and num_classes != model.num_classes:
            model.reset_classifier(num_classes)
        return model.eval(), report


def load_published(
    source: str | PathLike[str] | Mapping[str, Tensor], *, num_classes: int | None = None
) -> MedMamba | MedViT:
    """Build the network that a published checkpoint holds, with its weights, in evaluation mode.

    Args:
        source: A `.pth` file of the published code, or its state dict.
        num_classes: Replace the head by a new one of this size; None keeps the checkpoint's.

    Raises:
        InputError: The file cannot be read as plain weights, or is no MedMamba, VMamba or MedViT checkpoint.
    """
    return load_with_report(source, num_classes=num_classes)[0]


def load_with_report(
    source: str | PathLike[str] | Mapping[str, Tensor], *, num_classes: int | None = None
) -> tuple[MedMamba | MedViT, Report]:
    """As `load_published`, with the report of what fitted."""
    return recognise(source if isinstance(source, Mapping) else read_checkpoint(source)).load(num_classes)


def recognise(state: Mapping[str, object]) -> Published:
    """Tell whose network a checkpoint holds, and read it off its tensors.

    Raises:
        InputError: It is no checkpoint of the published code.
    """
    tensors = unwrap(state)
    family = _family(tensors)
    arguments = family.infer_arguments(tensors)
    return Published(family.variant_name(arguments), arguments, family.from_published(tensors))


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names and shapes, of MedMamba, VMamba or MedViT, to ours."""
    return _family(state).from_published(state)


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names and shapes to published ones: the exact inverse of `from_published`."""
    return _family(state).to_published(state)


def _family(state: Mapping[str, object]) -> Any:
    """The module that knows the names of a state dict, published or ours."""
    return medvit_checkpoint if medvit_checkpoint.is_medvit(state) else medmamba_checkpoint


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
        refused = re.search(r"GLOBAL ([\w.]+) was not an allowed global", str(reason))
        if refused:
            raise InputError(
                f"{path} cannot be read as plain weights: it also holds {refused[1]}, a Python object; where you trust "
                f"it, save the state dict in torch.load({str(path)!r}, weights_only=False) alone and give that"
            ) from reason
        raise InputError(
            f"{path} cannot be read as plain weights ({one_line(reason)}); save the model's state_dict alone and give "
            "that"
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
