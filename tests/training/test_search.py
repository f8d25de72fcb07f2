"""The search of the recipe `strong`: what it may see, what it records, how it goes on."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from medmamba.data.related import sources_of
from medmamba.paper.sets import SOURCES, locate
from medmamba.training.recipe import load_recipe

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "search_recipe.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("search_recipe", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "search_recipe", module)  # where its dataclass looks for its own names
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "locate", lambda folder, name: folder / name)
    return module


def made(script, monkeypatch, tmp_path, trials, *, ends=lambda number: True):
    """The file of a search whose trainings are played: the lower the learning rate, the better."""
    runs = []

    def train(data, out, recipe, place, seconds):
        settings = load_recipe(str(recipe))  # a recipe that training takes
        runs.append((data.name, settings))
        return ends(len(runs))

    def figures(run):
        return {"auc": 1 - runs[-1][1].lr, "accuracy": 0.5, "best_epoch": 1, "epochs": 2}

    monkeypatch.setattr(script, "train", train)
    monkeypatch.setattr(script, "figures", figures)
    out = tmp_path / "search.json"
    monkeypatch.setattr(
        sys, "argv", ["search", str(tmp_path), "--out", str(out), "--devices", "0", "--trials", str(trials)]
    )
    assert script.main() == 0
    return json.loads(out.read_text()), runs


def test_every_trial_is_recorded_and_a_search_goes_on(script, monkeypatch, tmp_path, capsys):
    found, runs = made(script, monkeypatch, tmp_path, 3)
    capsys.readouterr()
    assert len(found["trials"]) == 3
    assert [name for name, _ in runs] == [*script.SETS] * 3
    assert found["trials"][0]["settings"]["lr"] == load_recipe("strong").lr  # the recipe as it is comes first
    again, runs = made(script, monkeypatch, tmp_path, 5)
    assert again["trials"][:3] == found["trials"]
    assert len(again["trials"]) == 5
    assert len(runs) == 2 * len(script.SETS)
    best = max(again["trials"], key=lambda trial: trial["score"])
    assert json.loads(capsys.readouterr().out) == best
    assert best["score"] == pytest.approx((1 - best["settings"]["lr"] + 0.5) / 2)


def test_a_trial_that_is_cut_is_thrown_away(script, monkeypatch, tmp_path):
    found, _ = made(script, monkeypatch, tmp_path, 9, ends=lambda number: number <= 4)
    assert len(found["trials"]) == 1


def test_neither_busi_nor_what_is_made_of_it_is_searched_on(script, data_folder):
    from medmamba.data import open_data

    for name in script.SETS:
        assert "BUSI" not in sources_of(open_data(locate(data_folder, name)))
        assert SOURCES[name].train


def test_a_run_goes_through_about_as_many_images_of_each_set(script):
    settings = script.start()
    for name in script.SETS:
        epochs = script.recipe_of(settings, SOURCES[name].train, 100_000)["epochs"]
        assert (
            epochs in (script.LEAST, script.MOST) or abs(epochs * SOURCES[name].train - 100_000) < SOURCES[name].train
        )
