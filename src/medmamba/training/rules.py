"""Settings of a recipe that follow from the training images or the network, never from the name of a data set.

A recipe file writes a rule in the place of a value; `settle` puts a plain value there before anything is trained.

    epochs: {steps: 12000, least: 30, most: 200}
    augment: {grey: trivial-grey, colour: trivial}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from medmamba.errors import InputError, shown, suggest
from medmamba.training.order import batch_sizes
from medmamba.training.quantities import MOST, Range

if TYPE_CHECKING:
    from medmamba.training.recipe import Recipe


@dataclass(frozen=True)
class EpochsBySteps:
    """As many epochs as come nearest to a number of steps, in bounds: a smaller set gets more epochs.

    Attributes:
        steps: Of the whole run.
        least: Epochs at least, whatever the steps.
        most: Epochs at most.
    """

    steps: int
    least: int
    most: int

    def __post_init__(self) -> None:
        numbers = (self.steps, self.least, self.most)
        if not all(number in Range(1, MOST, whole=True) for number in numbers) or self.least > self.most:
            steps, least, most = map(shown, numbers)
            raise InputError(
                f"epochs by steps {steps}, least {least}, most {most} are not possible; "
                f"expected whole numbers from 1 to {MOST:g}, least not above most"
            )

    @property
    def unsettled(self) -> int:
        """What stands in a recipe until it is settled."""
        return self.most

    def choose(self, images: int, batch_size: int) -> tuple[int, str]:
        """The epochs for so many training images, and why."""
        each = len(batch_sizes(images, batch_size))
        epochs = min(max(round(self.steps / each), self.least), self.most)
        why = f"{self.steps} steps of {batch_size} of {images} images, but {self.least} to {self.most} epochs"
        return epochs, why


@dataclass(frozen=True)
class AugmentByColour:
    """One augmentation for grey images and one for colour images.

    Attributes:
        grey: Name of the first.
        colour: Name of the second.
    """

    grey: str
    colour: str

    def __post_init__(self) -> None:
        from medmamba.data.augment import AUGMENTATIONS

        known = tuple(AUGMENTATIONS)
        for name in (self.grey, self.colour):
            if name not in known:
                hint = suggest(name, known) if isinstance(name, str) else ""
                raise InputError(f"augment {shown(name)} is unknown; choose from {', '.join(known)}{hint}")

    @property
    def unsettled(self) -> str:
        """What stands in a recipe until it is settled."""
        return self.grey

    def choose(self, grey: bool) -> tuple[str, str]:
        """The augmentation, and why."""
        return (self.grey, "the images are grey") if grey else (self.colour, "the images have colours")


Rule = EpochsBySteps | AugmentByColour
RULES: Mapping[str, type[Rule]] = {"epochs": EpochsBySteps, "augment": AugmentByColour}


def parse_rule(setting: str, entries: Mapping[str, Any]) -> Rule:
    """The rule that a recipe file writes in the place of a value.

    Raises:
        InputError: The setting takes no rule, or the rule lacks something, has too much, or is impossible.
    """
    if setting not in RULES:
        raise InputError(f"{setting} {shown(dict(entries))} is not possible; only {' and '.join(RULES)} take a rule")
    rule = RULES[setting]
    names = [entry.name for entry in fields(rule)]
    if set(entries) != set(names):
        given = ", ".join(map(str, entries)) or "nothing"
        raise InputError(f"the rule of {setting} has {given}; expected {', '.join(names)}")
    return rule(**entries)


def settle(recipe: Recipe, *, images: int, grey: Callable[[], bool]) -> tuple[Recipe, tuple[str, ...]]:
    """A recipe with a plain value for each rule, and a sentence for each that says which and why.

    Args:
        recipe: With rules or without.
        images: Of the training split.
        grey: Tells whether they are grey; asked only where a rule depends on it.
    """
    values: dict[str, Any] = {}
    why: list[str] = []
    for setting, rule in recipe.rules.items():
        if isinstance(rule, EpochsBySteps):
            values[setting], reason = rule.choose(images, recipe.batch_size)
        else:
            values[setting], reason = rule.choose(grey())
        why.append(f"{setting} {values[setting]} ({reason})")
    return replace(recipe, **values, rules={}), tuple(why)


def suit(recipe: Recipe, model: str, model_args: Mapping[str, Any]) -> tuple[Recipe, tuple[str, ...]]:
    """A recipe without what a network cannot take or was given by itself, and a sentence for each that says why.

    Args:
        recipe: With rules or without.
        model: Registry name.
        model_args: Its arguments.
    """
    from medmamba.models.creation import has_drop_path, is_model

    if recipe.drop_path_rate is None:
        return recipe, ()
    if "drop_path_rate" in model_args:
        why = "the model's argument holds"
    elif is_model(model) and not has_drop_path(model):
        why = f"{model} has no drop path"
    else:
        return recipe, ()
    return replace(recipe, drop_path_rate=None), (f"no drop_path_rate ({why})",)
