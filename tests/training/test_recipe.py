from pathlib import Path

import pytest

from medmamba.errors import InputError
from medmamba.training.recipe import learning_rate, load_recipe, parse_recipe, recipe_names


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
        ("schedule: cosin", "did you mean 'cosine'"),
        ("augment: heavy", "choose from none, light, autoaugment"),
        ("[1, 2]", "holds no settings"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_recipe_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        parse_recipe(text, name="mine")


def test_a_recipe_is_a_name_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("lr: 0.5")
    assert (load_recipe(str(file)).name, load_recipe(str(file)).lr) == ("mine", 0.5)
    with pytest.raises(InputError, match="no recipe 'medmist'; did you mean 'medmnist'"):
        load_recipe("medmist")
