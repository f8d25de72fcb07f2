"""The models of the paper's tables: which of ours or timm's they are, and how the paper trained them.

The paper names no source for its reference models. Their printed parameters, at six classes, are those of timm's models
to the last digit, rounded or cut off, which fixes the names in the tables' column `model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from medmamba.errors import InputError, suggest
from medmamba.models import create_model
from medmamba.models.creation import is_model
from medmamba.paper import printed
from medmamba.paper.sets import RECIPES, recipe_of

AUTOAUGMENT = "-autoaugment"  # behind the name of a recipe
PAPER_X = tuple(("medmamba_tiny", f"{recipe}{AUTOAUGMENT}") for recipe in RECIPES)  # models and recipes: MedMamba-X
SIZE = [224, 224]  # of the paper's images, in pixels; labels leave it out

# what figures call models: the paper's names, written alike where its tables write them in several ways
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
    "repvgg_a1": "RepVGG-A1",
    "mobilevitv2_200": "MobileViTv2-2.0",
    "edgenext_base": "EdgeNeXt-B",
    "nest_tiny": "NesT-T",
    "mobileone_s4": "MobileOne-S4",
    "cait_xxs36_224": "CaiT-XXS36",
    "densenet169": "DenseNet-169",
}


@dataclass(frozen=True)
class Network:
    """What stands behind a key of the tables' column `model`.

    Attributes:
        key: Its name in the tables.
        model: Its registry name; None for what is cited and not run.
        image_size: Side of the images it is given, in pixels.
        augmented: Trained with AutoAugment.
        search: How it was found, where it is no network but a classical model (`medmamba.paper.automl`).
    """

    key: str
    model: str | None
    image_size: int = 224
    augmented: bool = False
    search: str = ""

    def recipe(self, data: str) -> str:
        """The recipe that has the paper's settings for a data set; of a classical model, its search."""
        if self.search:
            return self.search
        return recipe_of(data) + AUTOAUGMENT * self.augmented


_SPECIAL = (
    Network("medmamba_tiny+autoaugment", "medmamba_tiny", augmented=True),  # the paper's MedMamba-X
    Network("resnet18_small_stem", "resnet18_small_stem", image_size=28),
    Network("resnet50_small_stem", "resnet50_small_stem", image_size=28),
    Network("automl-pixels", "automl-pixels", image_size=28, search="flaml-60s"),  # in auto-sklearn's place
    Network("auto-sklearn", None),
    Network("autokeras", None),
    Network("google-automl", None),
)
_BY_KEY = {network.key: network for network in _SPECIAL}


def network(key: str) -> Network:
    """What a key means; most are registry names."""
    return _BY_KEY.get(key) or Network(key, key)


def chosen(table: str, names: tuple[str, ...], extras: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The keys of a table, and of `extras`, that are meant by these keys or registry names; all for no name.

    Raises:
        InputError: A name is not in the table.
    """
    keys = (*printed.models(table), *extras)
    known = {key: {key, network(key).model} for key in keys}
    for name in names:
        if not any(name in meanings for meanings in known.values()):
            hint = suggest(name, list(keys))
            raise InputError(f"{table} has no model {name!r}{hint}; choose among {', '.join(keys)}")
    return tuple(key for key in keys if not names or known[key] & set(names))


def build(network: Network, classes: int) -> nn.Module | None:
    """The model on the device `meta`, shapes alone; None where its name is not registered."""
    if network.model is None or not is_model(network.model):
        return None
    with torch.device("meta"):
        return create_model(network.model, classes)


def label(model: str, recipe: str | None = None, image_size: list[int] | None = None) -> str:
    """A model's name in figures: the paper's where it has one; other recipes and sizes than the paper's are named."""
    name = "MedMamba-X" if (model, recipe) in PAPER_X else LABELS.get(model, model)
    extra = [] if image_size in (None, SIZE) else [str(image_size[0])]
    extra += [] if recipe in (None, *RECIPES) or (model, recipe) in PAPER_X else [str(recipe)]
    return f"{name} ({', '.join(extra)})" if extra else name


def of_bundle(about: Mapping[str, Any]) -> str:
    """The label of a trained model, from `medmamba.paper.figures.inputs.about_bundle`."""
    recipe = about["recipe"]
    return label(about["model"], recipe if (about["model"], recipe) in PAPER_X else None)
