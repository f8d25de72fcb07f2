"""Recipes: how a model is trained, as YAML files in the package or the user's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from medmamba.errors import InputError, shown, suggest
from medmamba.training.quantities import SETTINGS, are_numbers
from medmamba.training.rules import RULES, Rule, parse_rule

OPTIMIZERS = ("adamw",)
LARGEST, DEEPEST = 20_000, 5  # characters of a recipe file; mappings and lists in each other: those of a rule are 3
LONGEST = 100  # characters of a single value: a number with thousands of digits is none
SCHEDULES = ("constant", "steps", "cosine")


@dataclass(frozen=True)
class Recipe:
    """How to train. A recipe file says what differs from these values and why.

    Attributes:
        name: Name of the recipe or of its file.
        optimizer: `adamw` (Loshchilov & Hutter 2019).
        lr: Peak learning rate, more than 0; as all numbers here finite, in the bounds of
            `medmamba.training.quantities.SETTINGS`.
        weight_decay: AdamW's, 0 or more; not for norms, biases and what the model exempts.
        betas: AdamW's decay rates of the two moments, each in [0, 1).
        epochs: At most so many passes over the training images.
        batch_size: Images a step, over all processes together.
        schedule: Of the learning rate: `constant`; `steps` (times `gamma` at each milestone); `cosine` (down to 0).
        milestones: Of `steps`: shares of `epochs`, so that a shorter run keeps its shape.
        gamma: Of `steps`.
        warmup_epochs: Of `cosine`: the rate first rises linearly for so many epochs, at most half of all.
        patience: Stop after so many epochs without a better validation AUC; None for never.
        choose_from: Share of `epochs`, in [0, 1): the epoch that is kept is one after it, the best of those; until then
            the best so far.
        augment: A name in `medmamba.data.augment.AUGMENTATIONS`.
        imbalance: A name in `medmamba.training.imbalance.CHOICES`.
        label_smoothing: Share of the target that is spread evenly over the classes, in [0, 1).
        ema: Decay of the exponential moving average of the weights that is validated and kept; None for no average.
        drop_path_rate: Highest drop path rate; None for the model's own.
        mixup: Alpha of mixup (Zhang et al. 2018; `medmamba.training.mixup` says in which form), from 0 for none to 10.
        rules: Settings that follow from the training images, by name; `medmamba.training.rules.settle` puts plain
            values there before a run begins.
    """

    name: str
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    epochs: int = 100
    batch_size: int = 128
    schedule: str = "constant"
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    patience: int | None = None
    choose_from: float = 0.0
    augment: str = "none"
    imbalance: str = "none"
    label_smoothing: float = 0.0
    ema: float | None = None
    drop_path_rate: float | None = None
    mixup: float = 0.0
    rules: Mapping[str, Rule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from medmamba.data.augment import AUGMENTATIONS
        from medmamba.training.imbalance import CHOICES

        choices = {
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
            "augment": tuple(AUGMENTATIONS),
            "imbalance": tuple(CHOICES),
        }
        for name, options in choices.items():
            value = getattr(self, name)
            if value not in options:
                hint = suggest(value, options) if isinstance(value, str) else ""
                raise InputError(f"{name} {shown(value)} is unknown; choose from {', '.join(options)}{hint}")
        for name, numbers in SETTINGS.items():
            numbers.check(name, getattr(self, name))
        self._check_several()

    def _check_several(self) -> None:
        """Raise `InputError` for what is not one number and not one of some words."""
        betas, shares, rules = self.betas, self.milestones, self.rules
        if not isinstance(self.name, str):
            raise InputError(f"the name of a recipe is {shown(self.name)}; expected text")
        if not (are_numbers(betas) and len(betas) == 2 and max(betas) < 1):
            raise InputError(f"betas {shown(betas)} are not possible; expected two numbers from 0 to below 1")
        if not (are_numbers(shares) and all(0 < share < 1 for share in shares)):
            raise InputError(f"milestones {shown(shares)} are not possible; expected shares of the epochs, 0 to 1")
        if not isinstance(rules, Mapping) or not all(
            name in RULES and isinstance(rule, RULES[name]) for name, rule in rules.items()
        ):
            raise InputError(f"rules {shown(rules)} are not possible; expected those of {' and '.join(RULES)}")

    def to_dict(self) -> dict[str, Any]:
        """The settings, as JSON takes them.

        What came after runs had been recorded is left out where it does nothing, so that their records still compare
        equal.
        """
        entries = asdict(self)
        late = ("mixup", "choose_from", "rules")
        return {name: value for name, value in entries.items() if name not in late or value}


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes in the package."""
    files = resources.files("medmamba.training").joinpath("recipes").iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def load_recipe(name: str, **overrides: Any) -> Recipe:
    """A recipe by name or path, with some settings replaced.

    Args:
        name: One of `recipe_names()`, or the path of a YAML file.
        overrides: Settings to replace; those that are None are left alone.

    Raises:
        InputError: There is no such recipe, or a setting is unknown or impossible.
    """
    if name in recipe_names():
        text = resources.files("medmamba.training").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")
    elif Path(name).is_file():
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as reason:
            raise InputError(f"{name} cannot be read as UTF-8 text ({reason}); give a YAML file") from None
    else:
        names = recipe_names()
        raise InputError(
            f"there is no recipe {name!r}{suggest(name, names)}; choose from {', '.join(names)} or give a YAML file"
        )
    recipe = parse_recipe(text, name=Path(name).stem if Path(name).is_file() else name)
    given = {key: value for key, value in overrides.items() if value is not None}
    return replace(recipe, **given, rules={key: rule for key, rule in recipe.rules.items() if key not in given})


def parse_recipe(text: str, *, name: str) -> Recipe:
    """A recipe from YAML.

    Raises:
        InputError: It is no YAML mapping, or a setting is unknown or impossible.
    """
    if len(text) > LARGEST:
        raise InputError(f"the recipe {name} has {len(text)} characters; one of the package has some hundred")
    try:
        settings = _load(text)
    except Exception as reason:  # its own errors, and what Python says of a value that looks like a date or a number
        where = " ".join(str(reason).split())
        raise InputError(f"the recipe {name} is not YAML ({where}); compare it with a recipe of the package") from None
    if not isinstance(settings, dict):
        raise InputError(f"the recipe {name} holds no settings; expected lines such as 'lr: 0.001'")
    known = tuple(entry.name for entry in fields(Recipe) if entry.name not in ("name", "rules"))
    for key in settings:
        if key not in known:
            raise InputError(f"the recipe {name} has an unknown setting {shown(key)}{suggest(str(key), known)}")
    for key in ("betas", "milestones"):
        if key in settings:
            if not isinstance(settings[key], list):
                raise InputError(
                    f"the recipe {name} has {key}: {shown(settings[key])}; expected a list such as [0.5, 0.75]"
                )
            settings[key] = tuple(settings[key])
    rules = {key: parse_rule(key, value) for key, value in settings.items() if isinstance(value, dict)}
    settings |= {key: rule.unsettled for key, rule in rules.items()}
    return Recipe(name=name, **settings, rules=rules)


def _load(text: str) -> Any:
    """Plain values of a YAML text: no type is named, no name stands twice, nothing is repeated by reference."""
    import yaml

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):  # a few lines of them may stand for more than fits into memory
                raise yaml.YAMLError("it repeats a value by reference; write it out")
            event = self.peek_event()
            if event.tag is not None:
                raise yaml.YAMLError(f"it names the type {shown(event.tag)}; write the value alone")
            if len(getattr(event, "value", "")) > LONGEST:
                raise yaml.YAMLError(f"it has a value of {len(event.value)} characters")
            self.depth += 1
            if self.depth > DEEPEST:
                raise yaml.YAMLError("its lists and mappings are too deep")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [self.construct_object(name, deep=True) for name, _ in node.value]
            if twice := [name for name in names if names.count(name) > 1]:
                raise yaml.YAMLError(f"{twice[0]!r} stands twice")
            return super().construct_mapping(node, deep)

    return yaml.load(text, Loader)


def learning_rate(recipe: Recipe, epoch: int, step: int, steps: int) -> float:
    """The learning rate of one step: a function of where in the run it is, so there is no scheduler state to lose.

    Args:
        recipe: Names schedule and peak.
        epoch: From 0.
        step: Within the epoch, from 0.
        steps: In each epoch.
    """
    now = epoch + step / steps
    if recipe.schedule == "steps":
        return recipe.lr * recipe.gamma ** sum(now >= round(share * recipe.epochs) for share in recipe.milestones)
    if recipe.schedule == "cosine":
        warmup = min(recipe.warmup_epochs, recipe.epochs / 2)
        if now < warmup:
            return recipe.lr * min(1.0, (now + 1 / steps) / warmup)
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * (now - warmup) / (recipe.epochs - warmup)))
    return recipe.lr
