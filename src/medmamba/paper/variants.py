"""A recipe of the package with some settings replaced: what a run trains by, on the command line and as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.writing import write_atomically

if TYPE_CHECKING:
    from medmamba.training.recipe import Recipe

OPTIONS = ("epochs", "batch_size", "lr", "augment", "imbalance")  # of train and pretrain; a file must say the others


def variant(recipe: str, changes: Mapping[str, Any]) -> Recipe:
    """A recipe by name with some settings replaced, with None too; a setting that is replaced loses its rule.

    Raises:
        InputError: There is no such recipe, or a value is impossible.
    """
    from medmamba.training.recipe import load_recipe

    given = load_recipe(recipe)
    return replace(given, **changes, rules={key: rule for key, rule in given.rules.items() if key not in changes})


def by_option(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the command line has options for."""
    return {key: value for key, value in changes.items() if key in OPTIONS}


def by_file(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Those that only a recipe file can say."""
    return {key: value for key, value in changes.items() if key not in OPTIONS}


def option_words(changes: Mapping[str, Any]) -> list[str]:
    """The words of the command line for `by_option`."""
    return [f"--{key.replace('_', '-')} {value}" for key, value in by_option(changes).items()]


def recipe_words(recipe: str, changes: Mapping[str, Any]) -> tuple[str, str]:
    """What `--recipe` is given, and a comment at the end of the command that says what stands in the file, if any."""
    changed = by_file(changes)
    if not changed:
        return recipe, ""
    values = ", ".join(f"{key}: {'null' if value is None else value}" for key, value in changed.items())
    return f"{recipe}.yaml", f"  # {recipe}.yaml is the recipe {recipe} with {values}"


def write_recipe(folder: Path, recipe: Recipe) -> Path:
    """Write a recipe as a file of its name, with its rules.

    Returns:
        The file.
    """
    import yaml

    settings = recipe.to_dict()
    del settings["name"]
    settings |= settings.pop("rules", {})
    path = folder / f"{recipe.name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, yaml.safe_dump(settings, sort_keys=False).encode())
    return path
