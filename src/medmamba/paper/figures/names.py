"""What figures call models: the paper's names for the registry's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAPER_X = ("medmamba_tiny", "medmnist-autoaugment")  # model and recipe of MedMamba-X
RECIPE, SIZE = "medmnist", [224, 224]  # of the paper's frame, which labels leave out

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
    "resnet50": "ResNet-50",
    "convnext_tiny": "ConvNeXt-T",
    "convnext_small": "ConvNeXt-S",
    "convnext_base": "ConvNeXt-B",
    "swin_tiny_patch4_window7_224": "Swin-T",
    "swin_small_patch4_window7_224": "Swin-S",
    "swin_base_patch4_window7_224": "Swin-B",
}


def label(model: str, recipe: str | None = RECIPE, image_size: list[int] | None = None) -> str:
    """A model's name in figures: the paper's where it has one; other recipes and sizes than the paper's are named."""
    if (model, recipe) == PAPER_X:
        name, recipe = "MedMamba-X", RECIPE
    else:
        name = LABELS.get(model, model)
    extra = [] if image_size in (None, SIZE) else [str(image_size[0])]
    extra += [] if recipe in (None, RECIPE) else [str(recipe)]
    return f"{name} ({', '.join(extra)})" if extra else name


def of_bundle(about: Mapping[str, Any]) -> str:
    """The label of a trained model, from `about_bundle`."""
    return label(about["model"], about["recipe"] if (about["model"], about["recipe"]) == PAPER_X else None)
