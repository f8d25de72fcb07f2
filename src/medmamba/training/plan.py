"""What is asked of a run, and what can be settled or refused before any data is read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from medmamba.data.colour import are_grey
from medmamba.data.dataset import Pictures
from medmamba.data.preprocessing import Preprocessing
from medmamba.device import check_device, scan_backend
from medmamba.training.config import TrainConfig
from medmamba.training.precision import check_processes, choose_precision
from medmamba.training.recipe import Recipe, load_recipe
from medmamba.training.rules import settle, suit

# Memory and speed, and results within rounding but for batch normalisation, which sees each part of a batch by itself:
# a run that met the end of its memory may go on with others, and its log says so.
CHANGEABLE = ("accumulate", "checkpointing", "compile")
CLASSES = "list of classes"  # what `identity` calls it


@dataclass(frozen=True)
class Request:
    """What was asked for, in the form in which a resume needs it again.

    Attributes:
        data: Path or name of the data, or several; None if an opened `Dataset` was given.
        task: Of the data, where it was said.
        positive: The positive class, where it was said.
        group_column: Column of the patient, where it was said.
        config: The options.
        allow: Faults of the data to go on in spite of, by name.
        label_columns: Columns of the labels of a multi-label task, where they were said.
    """

    data: str | tuple[str, ...] | None
    task: str | None
    positive: str | None
    group_column: str | None
    config: TrainConfig
    allow: tuple[str, ...] = ()
    label_columns: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As `resume.ckpt` holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Request:
        """The inverse of `to_dict`."""
        return cls(**{**entries, "config": TrainConfig(**entries["config"])})


@dataclass(frozen=True)
class Plan:
    """A request with its defaults settled for this machine.

    Attributes:
        request: What was asked for.
        recipe: With the options' settings; its rules are settled by `settled`.
        device: Where each process computes.
        precision: Lightning's name of it.
        settings_by_rule: What the network and the recipe's rules came to, a sentence for each.
    """

    request: Request
    recipe: Recipe
    device: torch.device
    precision: str
    settings_by_rule: tuple[str, ...] = ()

    @property
    def config(self) -> TrainConfig:
        """The options."""
        return self.request.config

    def settled(self, train: Pictures, preprocessing: Preprocessing) -> Plan:
        """With a plain value for each rule of the recipe.

        Args:
            train: The training split, whose number of images and colours decide.
            preprocessing: Of the run: one that makes images grey leaves no colour to ask for.

        Raises:
            InputError: An image that was looked at cannot be read.
        """
        recipe, sentences = settle(
            self.recipe,
            images=len(train),
            grey=lambda: preprocessing.channels == 1 or are_grey(train, preprocessing.reading),
        )
        return replace(self, recipe=recipe, settings_by_rule=(*self.settings_by_rule, *sentences))

    def with_options(self, **options: Any) -> Plan:
        """With some of the `CHANGEABLE` options changed."""
        return replace(self, request=replace(self.request, config=replace(self.config, **options)))

    def after(self, before: Mapping[str, Any]) -> Plan:
        """To go on with a run that had these options: with `halve`, in as many parts as it was found to need."""
        parts = max(self.config.accumulate, before["accumulate"])
        return self.with_options(accumulate=parts) if self.config.halve else self

    def identity(self, fingerprint: str, classes: Sequence[str]) -> dict[str, Any]:
        """What decides the result of a run on data with this fingerprint, and so must be the same for a resume."""
        options = asdict(self.config)
        for name in ("workers", "progress", "max_pixels", "save_seconds", "halve", *CHANGEABLE):  # halve by accumulate
            del options[name]
        if self.config.detail is None:  # a run of before there was this option can be resumed
            del options["detail"]
        return {
            **options,
            "settings of the recipe": self.recipe.to_dict(),
            "fingerprint of the data": fingerprint,
            CLASSES: list(classes),
        }


def make_plan(request: Request) -> Plan:
    """Settle recipe, device, precision and scan backend.

    Raises:
        InputError: One of them is not possible here.
    """
    config = request.config
    recipe = load_recipe(
        config.recipe,
        epochs=config.epochs,
        batch_size=config.batch_size,
        lr=config.lr,
        augment=config.augment,
        imbalance=config.imbalance,
    )
    recipe, sentences = suit(recipe, config.model, config.model_args)
    device = check_device(config.device)
    check_processes(config, device, recipe.batch_size)
    scan_backend(device)
    return Plan(request, recipe, device, choose_precision(config.precision, device), sentences)


def absolute(data: str | os.PathLike[str]) -> str:
    """A path that holds from any working directory; the name of a data set as it is."""
    return os.path.abspath(data) if os.path.exists(data) else os.fspath(data)
