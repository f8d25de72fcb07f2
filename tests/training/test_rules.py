"""Rules of a recipe: what they come to, and that a run shows plain values and resumes."""

import json
import math
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from noise import make_data, make_images
from torch import nn

import medmamba
from medmamba.bundle import load_bundle
from medmamba.data.dataset import ImageSet
from medmamba.errors import InputError
from medmamba.training.recipe import Recipe, load_recipe, parse_recipe
from medmamba.training.rules import parse_rule, settle, suit

BOTH = "{epochs: {steps: 120, least: 2, most: 30}, augment: {grey: trivial-grey, colour: light}, batch_size: 8}"


def unasked() -> bool:
    raise AssertionError("nobody needs to know the colours")


@pytest.mark.parametrize(("images", "epochs"), [(8, 30), (24, 30), (80, 12), (84, 11), (800, 2), (100_000, 2)])
def test_epochs_come_from_steps_within_bounds(images: int, epochs: int) -> None:
    recipe, why = settle(parse_recipe(BOTH, name="x"), images=images, grey=lambda: True)
    assert recipe.epochs == epochs
    assert why[0] == f"epochs {epochs} (120 steps of 8 of {images} images, but 2 to 30 epochs)"
    assert recipe.rules == {}
    assert settle(recipe, images=1, grey=unasked) == (recipe, ())  # nothing is left to settle


def test_the_augmentation_follows_the_colours() -> None:
    recipe = parse_recipe(BOTH, name="x")
    made = [settle(recipe, images=80, grey=lambda answer=answer: answer) for answer in (True, False)]
    assert [each.augment for each, _ in made] == ["trivial-grey", "light"]
    assert [why[1] for _, why in made] == [
        "augment trivial-grey (the images are grey)",
        "augment light (the images have colours)",
    ]


def test_options_overrule_rules(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(BOTH)
    recipe, why = settle(load_recipe(str(file), epochs=3, augment="none"), images=80, grey=unasked)
    assert (recipe.epochs, recipe.augment, why) == (3, "none", ())
    assert settle(load_recipe(str(file), batch_size=16), images=80, grey=lambda: True)[0].epochs == 24


@pytest.mark.parametrize(
    ("model", "model_args", "rate", "why"),
    [
        ("resnet18", {}, 0.2, ()),
        ("medmamba_tiny", {}, 0.2, ()),
        ("densenet121", {}, None, ("no drop_path_rate (densenet121 has no drop path)",)),
        ("vgg11", {}, None, ("no drop_path_rate (vgg11 has no drop path)",)),
        ("hrnet_w18_small", {}, None, ("no drop_path_rate (hrnet_w18_small has no drop path)",)),
        ("resnet18", {"drop_path_rate": 0.4}, None, ("no drop_path_rate (the model's argument holds)",)),
        ("of_mine", {}, 0.2, ()),  # which is refused elsewhere
    ],
)
def test_a_drop_path_rate_is_for_networks_that_have_none_of_their_own(
    model: str, model_args: dict[str, float], rate: float | None, why: tuple[str, ...]
) -> None:
    recipe, sentences = suit(parse_recipe("drop_path_rate: 0.2", name="x"), model, model_args)
    assert (recipe.drop_path_rate, sentences) == (rate, why)


@pytest.mark.parametrize(
    ("options", "rate", "why"),
    [
        ({"model": "densenet121", "model_args": {}}, None, "densenet121 has no drop path"),
        ({"model_args": {"drop_path_rate": 0.5}}, 0.5, "the model's argument holds"),
    ],
)
def test_the_recipe_of_strong_trains_networks_without_drop_path_and_with_their_own(
    short_fit: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    rate: float | None,
    why: str,
) -> None:
    built = []
    create = timm.create_model

    def watched(name: str, **arguments: Any) -> nn.Module:
        model = create(name, **arguments)
        built.append(arguments.get("drop_path_rate"))
        return model

    monkeypatch.setattr(timm, "create_model", watched)
    run = short_fit(recipe="strong", epochs=1, augment="none", **options)
    provenance = load_bundle(run).provenance
    assert provenance["recipe"]["drop_path_rate"] is None
    assert f"no drop_path_rate ({why})" in provenance["settings_by_rule"]
    assert f"no drop_path_rate ({why})" in (run / "log.txt").read_text()
    assert set(built) == {rate}
    assert short_fit(recipe="strong", epochs=1, augment="none", resume=True, **options) == run
    assert medmamba.load(run, device="cpu").probabilities(np.zeros((1, 3, 32, 32), np.uint8)).shape == (1, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs: {steps: 10, least: 1}", "the rule of epochs has steps, least; expected steps, least, most"),
        ("epochs: {steps: 10, least: 5, most: 4}", "least not above most"),
        ("epochs: {steps: 1.5, least: 5, most: 6}", "expected whole numbers"),
        ("epochs: {steps: true, least: 5, most: 6}", "expected whole numbers"),
        ("augment: {grey: light, colour: trivia}", "did you mean 'trivial'"),
        ("augment: {gray: light, colour: light}", "expected grey, colour"),
        ("augment: {grey: [light], colour: none}", r"augment \['light'\] is unknown; choose from none"),
        ("augment: {grey: {a: 1}, colour: none}", "augment {'a': 1} is unknown"),
        ("augment: {}", "the rule of augment has nothing; expected grey, colour"),
        ("schedule: {}", "only epochs and augment take a rule"),
        ("epochs: {steps: 10, least: 5, most: 1_000_000_000_000}", "whole numbers from 1 to"),
        ("lr: {grey: 0.1, colour: 0.2}", "only epochs and augment take a rule"),
        ("rules: {epochs: 3}", "unknown setting 'rules'"),
    ],
)
def test_a_wrong_rule_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_recipe(text, name="mine")


ODD = [None, True, -1, 0, 1.5, math.inf, math.nan, "x", [], [1], {}, {"a": 1}, date(2026, 1, 2), 10**400, 16**5000]
RIGHT: dict[str, dict[str, Any]] = {
    "epochs": {"steps": 10, "least": 1, "most": 5},
    "augment": {"grey": "none", "colour": "light"},
}


@pytest.mark.parametrize(("setting", "name"), [(setting, name) for setting, rule in RIGHT.items() for name in rule])
@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_no_odd_value_makes_a_rule(setting: str, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=r"not possible|is unknown"):
        parse_rule(setting, RIGHT[setting] | {name: value})
    with pytest.raises(InputError):
        parse_rule(setting, RIGHT[setting] | {"more": value})


def test_no_recipe_names_a_data_set_and_strong_settles_to_plain_values() -> None:
    strong = load_recipe("strong")
    assert set(strong.rules) == {"epochs"}
    few, many = (settle(strong, images=images, grey=lambda: True)[0] for images in (100, 5000))
    assert (few.epochs, many.epochs) == (200, 20)
    assert (few.mixup, few.label_smoothing, few.augment) == (0.2, 0.1, "trivial-grey")
    assert json.loads(json.dumps(few.to_dict()))["epochs"] == 200


def test_settings_that_do_nothing_are_left_out_of_records() -> None:
    assert {"mixup", "rules"}.isdisjoint(load_recipe("medmnist").to_dict())
    assert Recipe("x", mixup=0.2).to_dict()["mixup"] == 0.2


@pytest.mark.parametrize("colours", [False, True])
def test_a_run_shows_plain_values_and_resumes(
    short_fit: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, colours: bool
) -> None:
    caplog.set_level("INFO")
    file = tmp_path / "x.yaml"
    rule = "{grey: none, colour: light}"
    file.write_text(f"{{epochs: {{steps: 6, least: 1, most: 9}}, augment: {rule}, batch_size: 8, ema: 0.5}}")
    data = make_data()
    if colours:
        splits = {name: (lambda part=part: painted(part())) for name, part in data.splits.items() if name != "test"}
        data = make_data(splits=splits)
    options = {"data": data, "recipe": str(file), "epochs": None}
    run = short_fit(**options)
    provenance = load_bundle(run).provenance
    augment = "light" if colours else "none"
    assert (provenance["recipe"]["epochs"], provenance["recipe"]["augment"], provenance["epochs"]) == (2, augment, 2)
    assert "rules" not in provenance["recipe"]
    assert provenance["settings_by_rule"][0] == "epochs 2 (6 steps of 8 of 24 images, but 1 to 9 epochs)"
    log = (run / "log.txt").read_text()
    assert "recipe: by its rule epochs 2 (6 steps" in log
    assert "epochs 2, batch_size 8" in log
    assert short_fit(resume=True, **options) == run
    assert "is finished already" in caplog.text
    file.write_text(file.read_text().replace("steps: 6", "steps: 60"))
    with pytest.raises(InputError, match=r"recipe\.epochs was 2 and is 9"):
        short_fit(resume=True, **options)


def painted(images: ImageSet) -> ImageSet:
    """The same with a red channel that differs."""
    assert images.array is not None
    pixels = np.stack([np.asarray(images.array[i]) for i in range(len(images))])
    return ImageSet(images.names, images.targets, array=np.stack([255 - pixels, pixels, pixels], axis=-1))


def test_one_channel_leaves_no_colour_to_ask_for(short_fit: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("augment: {grey: light, colour: autoaugment}")
    data = make_data(splits={name: (lambda n=name: painted(make_images(24, name=n))) for name in ("train", "val")})
    run = short_fit(data=data, recipe=str(file), channels=1, epochs=1, allow=("leaked-images",))
    assert load_bundle(run).provenance["recipe"]["augment"] == "light"
