"""The search of the recipe `strong`: what it may see, what it records, how it goes on."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from medmamba.data.related import sources_of
from medmamba.paper.sets import locate
from medmamba.training.recipe import parse_recipe
from medmamba.training.rules import settle

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "search_recipe.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("search_recipe", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "search_recipe", module)  # where its dataclass looks for its own names
    spec.loader.exec_module(module)
    return module


def recipe_of_job(script, settings, images):
    return parse_recipe(yaml.safe_dump(script.recipe_of(settings, images)), name="trial")


def made(script, monkeypatch, tmp_path, trials, *, ends=lambda number: True):
    """The file of a search whose trainings are played."""
    jobs = []

    def train(data, job, cores, index, seconds):
        jobs.append(job)
        recipe_of_job(script, job["settings"], job["images"])  # one that training takes
        figures = {"auc": 1 - job["settings"]["lr"], "accuracy": 0.5}  # the lower the rate, the better
        return dict.fromkeys(job["sets"], figures) if ends(len(jobs)) else None

    monkeypatch.setattr(script, "train", train)
    out = tmp_path / "search.json"
    words = ["--out", str(out), "--devices", "0", "--per-device", "1", "--trials", str(trials)]
    monkeypatch.setattr(sys, "argv", ["search", str(tmp_path), *words])
    assert script.main() == 0
    return json.loads(out.read_text()), jobs


def test_every_trial_is_recorded_and_a_search_goes_on(script, monkeypatch, tmp_path, capsys):
    found, jobs = made(script, monkeypatch, tmp_path, 3)
    capsys.readouterr()
    assert len(found["trials"]) == 3
    assert found["trials"][0]["settings"] == script.START  # the recipe as it was comes first
    assert [job["sets"] for job in jobs[:3]] == [script.SETS] * 3
    again, jobs = made(script, monkeypatch, tmp_path, 5)
    assert again["trials"][:3] == found["trials"]
    assert len([job for job in jobs if job["sets"] == script.SETS]) == 2
    best = max(again["trials"], key=lambda trial: trial["score"])
    assert best["score"] == pytest.approx((1 - best["settings"]["lr"] + 0.5) / 2)
    assert json.loads(capsys.readouterr().out)["settings"] == best["settings"]


def test_the_best_and_the_recipe_as_it_was_are_trained_again_at_full_size(script, monkeypatch, tmp_path):
    found, jobs = made(script, monkeypatch, tmp_path, 8)
    ranked = sorted(found["trials"], key=lambda trial: -trial["score"])
    wanted = [trial["settings"] for trial in ranked[: script.FINALISTS]]
    wanted += [] if script.START in wanted else [script.START]
    assert [each["settings"] for each in found["finalists"]] == wanted
    assert {(job["side"], job["seed"]) for job in jobs[8:]} == {(script.FINAL_SIDE, script.FINAL_SEED)}
    assert all(tuple(each["sets"]) == script.SETS for each in found["finalists"])


def test_what_is_cut_is_thrown_away(script, monkeypatch, tmp_path):
    found, _ = made(script, monkeypatch, tmp_path, 9, ends=lambda number: number <= 4)
    assert len(found["trials"]) == 4
    assert found["finalists"] == []


def test_neither_busi_nor_what_is_made_of_it_is_searched_on(script, data_folder):
    from medmamba.data import open_data

    for name in script.SETS:
        assert "BUSI" not in sources_of(open_data(locate(data_folder, name)))


def test_no_image_is_in_two_parts_and_none_of_the_test_split_is_opened(script, data_folder):
    from medmamba.data import open_data

    for name in script.SETS:
        data = open_data(locate(data_folder, name))
        cut = script.parts(replace(data, splits={each: data.splits[each] for each in ("train", "val")}))
        names = {part: cut.split(part).names for part in ("train", "val", "test")}
        assert len(names["train"]) == script.TRAIN
        assert len(names["val"]) == script.CHOOSE
        assert len(set(sum(names.values(), ()))) == sum(map(len, names.values()))
        assert not set(data.split("val").names) & {*names["train"], *names["val"]}


def test_the_recipe_of_a_trial_is_one_that_training_takes(script):
    recipe = recipe_of_job(script, script.START, 80_000)
    settled, _ = settle(recipe, images=546, grey=lambda: True)
    assert settled.epochs == round(80_000 / 32 / 18)  # 546 images are 18 batches
    assert (settled.augment, settled.mixup, recipe.rules["augment"].colour) == ("trivial-grey", 0.2, "trivial")
