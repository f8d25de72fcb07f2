"""Any model of timm's, ours among them, by name, classes, channels and image size."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import timm
import torch
from torch import nn

from medmamba.errors import InputError, suggest
from medmamba.models import medvit
from medmamba.network import VARIANTS
from medmamba.network.arguments import check_dropped


def model_names() -> list[str]:
    """Names of our own models; timm's are in `timm.list_models()`."""
    return [*VARIANTS, *medvit.VARIANTS]


def is_model(name: str) -> bool:
    """Whether one of ours or of timm's is called so."""
    return bool(timm.is_model(name))


@cache
def has_drop_path(name: str) -> bool:
    """Whether a model takes a `drop_path_rate`: DenseNet, for example, has no paths to drop."""
    if name in model_names():
        return True
    try:
        with torch.device("meta"):
            timm.create_model(name, drop_path_rate=0.1)
    except TypeError as reason:
        return "drop_path_rate" not in str(reason)
    except (ValueError, AssertionError, RuntimeError):
        return True  # of something else, which will be said when it is built
    return True


def create_model(
    name: str,
    num_classes: int = 1000,
    *,
    in_chans: int = 3,
    image_size: tuple[int, int] | None = None,
    try_out: bool = True,
    **arguments: Any,
) -> nn.Module:
    """Build a model with random weights.

    Args:
        name: One of `model_names()`, or of `timm.list_models()`.
        num_classes: Outputs.
        in_chans: Channels of the images.
        image_size: Height and width, in pixels, that it must take. It is passed on to those models that are built for
            one size, and tried out on every model.
        try_out: Whether it is, for a model that is not known to take it.
        arguments: Passed on to the model.

    Raises:
        InputError: No model has this name, or it cannot take such images or arguments.
    """
    if not is_model(name):
        hint = suggest(name, [*model_names(), *timm.list_models()])
        raise InputError(
            f"there is no model {name!r}{hint}; `medmamba info --models` lists ours and how to find others"
        )
    if name not in model_names():  # ours check all of theirs
        check_dropped(**{argument: value for argument, value in arguments.items() if _is_dropped(argument)})
    model = _build(name, image_size, num_classes=num_classes, in_chans=in_chans, **arguments)
    if image_size is not None and try_out:
        _try_out(model, name, in_chans, image_size)
    return model


def _build(name: str, image_size: tuple[int, int] | None, **arguments: Any) -> nn.Module:
    try:
        if image_size is not None and name not in model_names():
            try:
                return timm.create_model(name, img_size=image_size, **arguments)
            except TypeError as reason:
                if "img_size" not in str(reason):
                    raise
        return timm.create_model(name, **arguments)
    except InputError:  # of our networks, whose sentence is whole
        raise
    except (TypeError, ValueError, AssertionError, RuntimeError) as reason:
        if argument := _stranger(reason):
            raise InputError(f"{name} takes no argument {argument!r}; leave it out, or take another model") from reason
        size = f" for images of {image_size[0]} x {image_size[1]} pixels" if image_size else ""
        raise InputError(f"{name} cannot be built{size}: {_sentence(reason)}; choose another size or model") from reason


def _try_out(model: nn.Module, name: str, in_chans: int, image_size: tuple[int, int]) -> None:
    """One forward of a blank image, since many models find out only then that a size does not suit them."""
    training = model.training
    parameter = next(model.parameters())
    blank = torch.zeros(1, in_chans, *image_size, device=parameter.device, dtype=parameter.dtype)
    try:
        with torch.no_grad():
            model.eval()(blank)
    except (ValueError, AssertionError, RuntimeError) as reason:
        height, width = image_size
        raise InputError(
            f"{name} cannot take images of {height} x {width} pixels: {_sentence(reason)}; choose another size or model"
        ) from reason
    finally:
        model.train(training)


def _is_dropped(argument: str) -> bool:
    """Whether timm's networks call a share that is dropped in training so: `attn_drop_rate`, `proj_drop`, `dropout`.

    Many take any number for it, and fail in the first step. `drop_block_size` is no share, nor is DenseNet's
    `growth_rate`.
    """
    named = argument.startswith("drop") or argument.endswith(("drop_rate", "_drop"))
    return named and not argument.endswith("_size")


def _stranger(reason: Exception) -> str:
    """The argument that a model does not know, if that is what is wrong; else empty."""
    found = re.search(r"unexpected keyword argument(?:\(s\):)? \[?'(\w+)'", str(reason))
    return found[1] if found else ""


def _sentence(reason: Exception) -> str:
    lines = str(reason).strip().splitlines()
    return lines[0].rstrip(".;") if lines else type(reason).__name__
