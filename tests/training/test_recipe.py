import math
import re
from contextlib import suppress
from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest
import yaml

from medmamba.errors import InputError
from medmamba.training.quantities import SETTINGS
from medmamba.training.recipe import Recipe, learning_rate, load_recipe, parse_recipe, recipe_names


def test_the_recipes_are_in_the_package_and_load() -> None:
    assert {"medmnist", "clinical", "medmnist-autoaugment", "quick", "small", "strong"} <= set(recipe_names())
    assert all(load_recipe(name).name == name for name in recipe_names())


def test_the_papers_settings() -> None:
    medmnist, clinical, x = (load_recipe(name) for name in ("medmnist", "clinical", "medmnist-autoaugment"))
    assert (medmnist.lr, medmnist.epochs, medmnist.batch_size, medmnist.augment) == (1e-3, 100, 128, "none")
    rates = [learning_rate(medmnist, epoch, 0, 7) for epoch in (0, 49, 50, 74, 75, 99)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])
    assert (clinical.lr, clinical.weight_decay, clinical.betas) == (1e-4, 1e-4, (0.9, 0.999))
    assert (clinical.epochs, clinical.batch_size) == (150, 64)
    assert clinical.patience is not None
    assert x.augment == "autoaugment"


def test_overrides_replace_and_none_does_not() -> None:
    recipe = load_recipe("medmnist", epochs=10, lr=None, batch_size=4)
    assert (recipe.epochs, recipe.lr, recipe.batch_size) == (10, 1e-3, 4)
    assert learning_rate(recipe, 5, 0, 3) == pytest.approx(1e-4)  # a shorter run keeps its shape


def test_cosine_rises_then_falls_to_nothing() -> None:
    recipe = parse_recipe("{schedule: cosine, lr: 1.0, epochs: 10, warmup_epochs: 2}", name="x")
    rates = [learning_rate(recipe, epoch, step, 4) for epoch in range(10) for step in range(4)]
    assert rates[0] == pytest.approx(1 / 8)
    assert max(rates) == pytest.approx(1.0)
    assert rates[:8] == sorted(rates[:8])
    assert rates[8:] == sorted(rates[8:], reverse=True)
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rate: 1", "unknown setting 'learning_rate'"),
        ("weight_decai: 1", "did you mean 'weight_decay'"),
        ("lr: fast", "lr 'fast'"),
        ("lr: -1", "lr -1"),
        ("batch_size: 1", "batch_size 1"),
        ("mixup: -0.1", "mixup -0.1"),
        ("epochs: 2.5", "whole number"),
        ("betas: 3", "expected a list"),
        ("betas: [0.9]", "betas"),
        ("milestones: [50, 75]", "shares of the epochs"),
        ("milestones: [a, b]", "milestones ('a', 'b') are not possible; expected shares of the epochs"),
        ("milestones: [null]", "shares of the epochs"),
        ("milestones: [[0.5]]", "shares of the epochs"),
        ("milestones: [2026-01-02]", "shares of the epochs"),
        ("milestones: [true]", "shares of the epochs"),
        ("milestones: 2026-01-02", "expected a list"),
        ("betas: [true, 0.5]", "two numbers from 0 to below 1"),
        ("betas: [0.9, 1]", "two numbers from 0 to below 1"),
        ("betas: [.nan, 0.9]", "two numbers from 0 to below 1"),
        ("schedule: cosin", "did you mean 'cosine'"),
        ("augment: heavy", "choose from none, light, autoaugment"),
        ("[1, 2]", "holds no settings"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_recipe_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        parse_recipe(text, name="mine")


def test_a_recipe_is_a_name_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("lr: 0.5")
    assert (load_recipe(str(file)).name, load_recipe(str(file)).lr) == ("mine", 0.5)
    with pytest.raises(InputError, match="no recipe 'medmist'; did you mean 'medmnist'"):
        load_recipe("medmist")


TOO_LONG = -(16**5000)  # for Python to write
ODD = [None, True, -1, 0, 1.5, math.inf, -math.inf, math.nan, "x", [], [1], {}, {"a": 1}, date(2026, 1, 2)]
ODD += [[None], ["a", "b"], [[0.5]], [date(2026, 1, 2)], [0.5, math.nan], [True, False], 10**400, TOO_LONG]


@pytest.mark.parametrize("name", [entry.name for entry in fields(Recipe)])
def test_a_setting_is_taken_or_refused_with_our_own_error(name: str) -> None:
    """Whatever it is, from Python and as YAML gives it; and no number that is taken is infinite or a truth value."""
    for value in ODD:
        with suppress(InputError):
            taken = getattr(Recipe(**{"name": "mine", name: value}), name)
            assert taken is value
            assert not isinstance(taken, float) or math.isfinite(taken)
            assert taken is not True
        if value != TOO_LONG:
            with suppress(InputError):
                parse_recipe(yaml.safe_dump({name: value}), name="mine")
        if value is not None:
            with suppress(InputError):
                load_recipe("quick", **{name: value} if name not in ("name", "rules") else {})


def test_every_number_has_finite_bounds() -> None:
    kinds = {entry.name: str(entry.type) for entry in fields(Recipe)}
    numbers = {name for name, kind in kinds.items() if kind.startswith(("int", "float"))}
    assert set(SETTINGS) == numbers
    assert all(math.isfinite(each.low) and math.isfinite(each.high) for each in SETTINGS.values())


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, True, 10**400], ids=str)
def test_a_number_is_finite_and_no_truth_value(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^{name} .* is not possible; expected a (whole )?number from \S+ to \d\S*$"):
        Recipe("mine", **{name: value})


@pytest.mark.parametrize("text", ["warmup_epochs: .inf", "lr: .inf", "weight_decay: .inf", "lr: .nan", "lr: true"])
def test_a_recipe_file_with_a_number_that_is_not_finite_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is not possible; expected a number from"):
        parse_recipe(text, name="mine")


def test_whole_numbers_are_numbers() -> None:
    assert parse_recipe("betas: [0, 0.999]\nlr: 1\nmilestones: []", name="mine").betas == (0, 0.999)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr: 0x" + "F" * 5000, "a value of 5002 characters"),
        ("lr: !!bool a", "names the type 'tag:yaml.org,2002:bool'; write the value alone"),
        ("lr: !!timestamp a", "names the type"),
        ('lr: !!int ""', "names the type"),
        ("betas: !!seq [0.9, 0.99]", "names the type"),
        ("lr: ! 1", "names the type '!'"),
        ("!!float lr: 1", "names the type"),
        ("lr: 0b_", "is not YAML"),
        ("lr: 2026-13-45", "is not YAML"),
        ("lr: 0001-01-01 00:00:00 +23:00", "not"),
        ("lr: " + "1:" * 40 + "1.5", "not"),
        ("<<: {lr: 1}", "is not YAML"),
        ("=: 1", "is not YAML"),
        ("{[a]: 1}", "is not YAML"),
        ("{a: 1}: 1", "is not YAML"),
    ],
)
def test_whatever_yaml_says_of_a_recipe_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        parse_recipe(text, name="mine")
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400
