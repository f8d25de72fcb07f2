"""What figures call models: the paper's names for the registry's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECIPES = ("medmnist", "clinical")  # the paper's, for MedMNIST and for other sets; labels leave them out
# models and recipes that are MedMamba-X
PAPER_X = tuple(("medmamba_tiny", f"{recipe}-autoaugment") for recipe in RECIPES)
SIZE = [224, 224]  # of the paper's images, in pixels; labels leave it out

LABELS: Mapping[str, str] = {
    "medmamba_nano": "MedMamba nano",
    "medmamba_tiny": "MedMamba-T",
    "medmamba_small12": "MedMamba-S",
    "medmamba_base16": "MedMamba-B",
    "vmamba_tiny": "VMamba-T",
    "vmamba_small": "VMamba-S",
    "vmamba_base": "VMamba-B",
    "medvit_tiny": "MedViT-T",
    "medvit_small": "MedViT-S",
    "medvit_large": "MedViT-L",
    "resnet18": "ResNet-18",
    "resnet18_small_stem": "ResNet-18",
    "resnet50": "ResNet-50",
    "resnet50_small_stem": "ResNet-50",
    "convnext_tiny": "ConvNeXt-T",
    "convnext_small": "ConvNeXt-S",
    "convnext_base": "ConvNeXt-B",
    "swin_tiny_patch4_window7_224": "Swin-T",
    "swin_small_patch4_window7_224": "Swin-S",
    "swin_base_patch4_window7_224": "Swin-B",
}


def label(model: str, recipe: str | None = None, image_size: list[int] | None = None) -> str:
    """A model's name in figures: the paper's where it has one; other recipes and sizes than the paper's are named."""
    name = "MedMamba-X" if (model, recipe) in PAPER_X else LABELS.get(model, model)
    extra = [] if image_size in (None, SIZE) else [str(image_size[0])]
    extra += [] if recipe in (None, *RECIPES) or (model, recipe) in PAPER_X else [str(recipe)]
    return f"{name} ({', '.join(extra)})" if extra else name


def of_bundle(about: Mapping[str, Any]) -> str:
    """The label of a trained model, from `about_bundle`."""
    recipe = about["recipe"]
    return label(about["model"], recipe if (about["model"], recipe) in PAPER_X else None)


def of_class(name: str, most: int = 100) -> str:
    """A class's name in words, cut to so many letters; that of a MedMNIST set without names is a number."""
    words = f"class {name}" if name.isdigit() else name.replace("_", " ")
    return words if len(words) <= most else words[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
