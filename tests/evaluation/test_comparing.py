"""`compare`: two models on the same images, or several runs of each."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_scoring import case

from medmamba.data.related import lineage
from medmamba.errors import InputError
from medmamba.evaluation import compare, find_models
from medmamba.metrics import compare_runs, compare_scores
from medmamba.tasks import Task


def other(classifier, seed, better=0.0, targets=None):
    """A model of the same question with other answers; `better` moves them towards the truth."""
    table = np.random.default_rng(seed).dirichlet(np.ones(classifier.table.shape[1]), len(classifier.table))
    if targets is not None:
        table[np.arange(len(targets)), targets] += better
        table /= table.sum(axis=1, keepdims=True)
    return replace(classifier, table=table)


def test_it_tells_what_compare_scores_does_and_writes_it(tmp_path):
    first, data, images = case()
    second = other(first, 1, 2.0, images.targets)
    report = compare([first], [second], data, out=tmp_path / "deep" / "c.json", resamples=100)
    alone = compare_scores(
        data.task, first.table, second.table, images.targets, data.classes, positive=1, resamples=100
    )
    assert report["differences"] == alone["differences"]
    assert report["differences"]["auc"]["value"] > 0 > report["differences"]["nll"]["value"]
    assert report["differences"]["accuracy"]["p"] < 0.05
    assert report["models"] == {side: [{"name": "resnet18", "seed": None, "trained_on": None}] for side in "ab"}
    assert json.loads((tmp_path / "deep" / "c.json").read_text()) == report


def test_a_model_against_itself_differs_by_nothing():
    first, data, _ = case()
    report = compare([first], [first], data, resamples=50)
    rows = report["differences"]
    assert {row["value"] for row in rows.values()} == {0}
    assert rows["auc"]["p"] == rows["accuracy"]["p"] == 1


def test_several_runs_are_means_and_their_spread_widens_the_interval():
    first, data, images = case()
    runs = [other(first, seed, 1.0, images.targets) for seed in range(2, 5)]
    report = compare([first], runs, data, resamples=300)
    of_one = [compare([first], [run], data, resamples=300)["differences"]["auc"] for run in runs]
    row = report["differences"]["auc"]
    assert row["b"] == pytest.approx(np.mean([each["b"] for each in of_one]))
    assert row["value"] == pytest.approx(row["b"] - row["a"])
    assert row["p"] is None
    assert report["runs"] == [1, 3]
    assert any("means over the runs" in note for note in report["notes"])
    # the same run three times has no spread: its interval is that of one
    same = compare_runs(
        Task.BINARY, [first.table], [runs[0].table] * 3, images.targets, data.classes,
        thresholds_a=[0.5], thresholds_b=[0.5] * 3, resamples=300,
    )  # fmt: skip
    alone = compare_runs(
        Task.BINARY, [first.table], [runs[0].table], images.targets, data.classes,
        thresholds_a=[0.5], thresholds_b=[0.5], resamples=300,
    )  # fmt: skip
    for key in ("value", "low", "high"):
        assert same["differences"]["mcc"][key] == pytest.approx(alone["differences"]["mcc"][key])
    apart = [other(first, 5, 3.0, images.targets), other(first, 6)]  # runs that differ widely
    wide, narrow = (
        compare([first], side, data, resamples=300)["differences"]["auc"] for side in (apart, [apart[0]] * 2)
    )
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])


def test_models_that_answer_different_questions_are_refused(tmp_path):
    first, data, _ = case()
    swapped = replace(first, bundle=replace(first.bundle, positive=0))
    with pytest.raises(InputError, match="different positive classes"):
        compare([first], [swapped], data)
    third, _, _ = case(Task.MULTICLASS, ("a", "b", "c"))
    with pytest.raises(InputError, match="different questions"):
        compare([first], [third], data)
    with pytest.raises(InputError, match="nothing to compare"):
        compare([], [first], data)
    with pytest.raises(InputError, match="is a folder"):
        compare([first], [first], data, out=tmp_path)


def test_a_folder_of_runs_is_all_of_them(tmp_path):
    for name in ("seed-1", "seed-0", "notes"):
        (tmp_path / name).mkdir()
    for name in ("seed-1", "seed-0"):
        (tmp_path / name / "bundle.json").write_text("{}")
    assert find_models(tmp_path) == [tmp_path / "seed-0", tmp_path / "seed-1"]
    assert find_models(tmp_path / "seed-1") == [tmp_path / "seed-1"]
    with pytest.raises(InputError, match="holds none"):
        find_models(tmp_path / "notes")


def test_what_are_no_runs_of_one_model_is_refused(tmp_path):
    first, data, _ = case()

    def run(**changes):
        return replace(other(first, 1), bundle=replace(first.bundle, **changes))

    shape = replace(first.bundle.preprocessing, height=16)
    for changes, words in (
        ({"model": "resnet34"}, "model resnet18 and resnet34"),
        ({"model_args": {"depth": 2}}, "model arguments"),
        ({"preprocessing": shape}, "image size 8 x 8 and 16 x 8"),
        ({"provenance": {"recipe": {"name": "strong"}}}, "recipe None and strong"),
    ):
        with pytest.raises(InputError, match=f"the second side of the comparison holds different models .*{words}"):
            compare([first], [first, run(**changes)], data, out=tmp_path / "c.json")
        compare([first], [run(**changes)], data, resamples=0)  # one against the other is what it is for
    copies = [run(files={"weights.safetensors": "0" * 64}) for _ in range(2)]
    with pytest.raises(InputError, match="the first side of the comparison holds 2 runs with the same weights"):
        compare(copies, [first], data, out=tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()


def test_a_comparison_on_training_images_says_so_once():
    first, data, images = case()
    data = replace(data, splits={"train": lambda: images, "test": lambda: images})
    origin = {"data": {"name": data.name, **lineage(data, ())}}
    known = replace(first, bundle=replace(first.bundle, provenance=origin))
    notes = {split: compare([known], [known], data, split, resamples=0)["notes"] for split in ("train", "test")}
    assert sum("took part in training" in note for note in notes["train"]) == 1
    assert not any("took part in training" in note for note in notes["test"])
