"""The models of the paper's tables: which of ours or timm's they are, and how the paper trained them.

The paper names no source for its reference models. Their printed parameters, at six classes, are those of timm's models
to the last digit, rounded or cut off, which fixes the names in the tables' column `model`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from medmamba.data.catalogue import MEDMNIST
from medmamba.errors import InputError, suggest
from medmamba.models import create_model
from medmamba.models.creation import is_model
from medmamba.paper import printed


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
        name = "medmnist" if data in MEDMNIST else "clinical"
        return f"{name}-autoaugment" if self.augmented else name


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
