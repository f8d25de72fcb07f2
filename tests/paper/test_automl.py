"""The AutoML baseline: what it sees, what its choice goes by, what it writes."""

import json
import sys
import time
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from medmamba.bundle import Bundle
from medmamba.data import Dataset, Preprocessing, open_data
from medmamba.data.dataset import ImageSet
from medmamba.errors import InputError
from medmamba.metrics import accuracy, auc
from medmamba.paper import automl, flaml_search
from medmamba.paper.automl import Frozen, Origin, Pixels, run
from medmamba.paper.flaml_search import ESTIMATORS, Budget, Table, View, require_flaml, search
from medmamba.predictor.network import NetworkClassifier
from medmamba.tasks import Task

TRIALS = Budget(trials=3)
NAMES = ("ant", "bee", "cow")


def image_set(split, targets, seed=0, channels=1, side=12):
    """The higher the class, the brighter the image, in much noise."""
    generator = np.random.default_rng((seed, len(split)))
    targets = np.asarray(targets)
    shape = (len(targets), side, side, *[channels] * (channels > 1))
    level = 90 + 10 * targets.reshape(-1, *[1] * (len(shape) - 1))
    array = np.clip(generator.normal(level, 40, shape), 0, 255).astype(np.uint8)
    return ImageSet(tuple(f"{split}/{row}" for row in range(len(targets))), targets, array=array)


def data_set(task=Task.BINARY, **changed):
    """Opened splits, any of which may be given."""
    classes = NAMES[:2] if task is Task.BINARY else NAMES
    counts = {"train": 36, "val": 18, "test": 24}
    splits = {name: image_set(name, np.arange(n) % len(classes)) for name, n in counts.items()} | changed
    openers = {name: (lambda images=images: images) for name, images in splits.items() if images is not None}
    return Dataset("toy", task, classes, openers, positive=1, size=(12, 12))


def read(path):
    def refuse(word):
        raise AssertionError(f"{word} in JSON")

    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        return json.loads(path.read_text(), parse_constant=refuse), dict(arrays)


def without_times(entries):
    kept = {name: value for name, value in entries.items() if name != "train_seconds"}
    kept["search"] = {name: value for name, value in entries["search"].items() if not name.endswith("_seconds")}
    return kept


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS, Task.ORDINAL])
def test_a_run_is_a_file_with_figures_that_its_scores_give_again(tmp_path, task):
    data = data_set(task)
    origin = Origin("python benchmarks/automl.py", "abc", "a processor")
    path = run(data, tmp_path, budget=TRIALS, seed=2, name="toys", origin=origin)
    assert path == tmp_path / "runs/toys/automl-pixels/flaml-3trials-28-seed2.json"
    entries, arrays = read(path)
    assert entries["scores"] == "flaml-3trials-28-seed2.npz"
    expected = {
        "schema": 1,
        "data": "toys",
        "file": "toy",
        "fingerprint": data.fingerprint(),
        "task": str(task),
        "source_size": [12, 12],
        "image_size": [28, 28],
        "model": "automl-pixels",
        "model_args": {"channels": 1},
        "recipe": "flaml-3trials",
        "seed": 2,
        "commit": "abc",
        "processor": "a processor",
        "train_images": 36,
    }
    assert {name: entries[name] for name in expected} == expected
    assert entries["device"].startswith("cpu, ")
    search_record = entries["search"]
    assert search_record["estimators"] == list(ESTIMATORS)
    assert (search_record["trials"], search_record["threads"], search_record["repeatable"]) == (3, 1, True)
    assert search_record["best_config"]["random_state"] == 2
    scores, targets = arrays["scores"], arrays["targets"]
    assert scores.dtype == np.float32
    assert scores.sum(axis=1) == pytest.approx(np.ones(24), abs=1e-4)
    np.testing.assert_array_equal(targets, data.split("test").targets)
    test = entries["test"]
    assert test["n"] == 24
    assert test["auc"]["value"] == auc(task, scores, targets, 1)
    if task is not Task.BINARY:  # where a tie at the threshold decides for the positive class
        assert test["accuracy"]["value"] == accuracy(scores.argmax(axis=1), targets)
    for name in ("accuracy", "auc", "precision", "sensitivity", "specificity", "f1"):
        assert 0 <= test[name]["low"] <= test[name]["value"] <= test[name]["high"] <= 1


def test_the_model_of_the_best_validation_auc_is_kept_as_it_was_fitted_on_the_training_images(tmp_path):
    entries, _ = read(run(data_set(Task.MULTICLASS), tmp_path, budget=Budget(trials=4)))
    tried = [area for area in entries["search"]["validation_auc"].values() if area is not None]
    assert len(set(tried)) > 1  # there was a choice
    assert entries["validation"]["auc"] == max(tried)
    assert entries["validation"]["n"] == 18


def test_test_images_have_no_say_and_are_opened_after_the_choice(tmp_path, monkeypatch):
    events = []

    def noted(*arguments, **options):
        events.append("search begins")
        found = search(*arguments, **options)
        events.append("search ends")
        return found

    monkeypatch.setattr(automl, "search", noted)
    plain = data_set(Task.MULTICLASS)
    openers = {**plain.splits, "test": lambda: (events.append("test"), plain.splits["test"]())[1]}
    first, _ = read(run(replace(plain, splits=openers), tmp_path / "a", budget=TRIALS))
    assert events == ["search begins", "search ends", "test"]
    other = data_set(Task.MULTICLASS, test=image_set("test", [2, 2, 1, 1, 0, 0, 0], seed=9))
    second, _ = read(run(other, tmp_path / "b", budget=TRIALS))
    assert first["test"] != second["test"]
    for entry in ("fingerprint", "search", "validation"):
        assert without_times(first)[entry] == without_times(second)[entry]


def test_validation_images_decide():
    """With the validation labels turned round, the estimator that was the worst is taken, with its area from 1."""
    data = data_set()
    train, val = (
        Table(Pixels(data.split("train")).rows(each), each.targets) for each in map(data.split, ("train", "val"))
    )
    right = search(Task.BINARY, train, val, 2, Budget(trials=4)).record["validation_auc"]
    turned = search(Task.BINARY, train, Table(val.values, 1 - val.targets), 2, Budget(trials=4)).record
    assert turned["validation_auc"] == pytest.approx({name: 1 - area for name, area in right.items()})
    assert turned["best_estimator"] == min(right, key=right.get)


def test_a_number_of_trials_gives_the_same_run_again_and_another_seed_another(tmp_path):
    data, budget = data_set(Task.MULTICLASS), Budget(trials=8)
    (first, scores), (again, same) = (read(run(data, tmp_path / name, budget=budget, seed=1)) for name in "ab")
    assert without_times(first) == without_times(again)
    np.testing.assert_array_equal(scores["scores"], same["scores"])
    _, other = read(run(data, tmp_path / "a", budget=budget, seed=3))
    assert (scores["scores"] != other["scores"]).any()


def test_trials_are_the_same_on_a_slower_machine(monkeypatch):
    data = data_set(Task.MULTICLASS)
    tables = [Table(Pixels(each).rows(each), each.targets) for each in map(data.split, ("train", "val"))]
    quick = search(Task.MULTICLASS, *tables, 3, Budget(trials=12)).record
    calls = count()

    def slow(*arguments):
        time.sleep(0.4 * (next(calls) % 4 < 2))  # for two of the four estimators
        return auc(*arguments)

    monkeypatch.setattr(flaml_search, "auc", slow)
    slowed = search(Task.MULTICLASS, *tables, 3, Budget(trials=12)).record
    assert slowed["wall_seconds"] > 2
    same = ("trials", "best_trial", "best_estimator", "best_config", "validation_auc")
    assert None not in slowed["validation_auc"].values()  # the estimators took turns
    assert {name: slowed[name] for name in same} == {name: quick[name] for name in same}


def test_a_time_is_said_not_to_be_repeatable(tmp_path):
    path = run(data_set(), tmp_path, budget=Budget(seconds=2))
    assert path.name == "flaml-2s-28-seed0.json"
    record = read(path)[0]["search"]
    assert (record["repeatable"], record["budget_seconds"], record["budget_trials"]) == (False, 2, None)
    assert record["trials"] >= record["best_trial"] >= 1


def test_a_class_without_training_images_has_probability_0(tmp_path):
    data = data_set(Task.ORDINAL, train=image_set("train", [0, 2] * 9), val=image_set("val", [2, 0] * 6))
    scores = read(run(data, tmp_path, budget=TRIALS))[1]["scores"]
    assert (scores[:, 1] == 0).all()
    assert scores[:, [0, 2]].sum(axis=1) == pytest.approx(np.ones(24), abs=1e-4)
    truth = data.split("test").targets
    assert scores[truth == 2, 2].mean() > scores[truth == 0, 2].mean()  # columns belong to their classes


def test_pixels_are_cut_to_28_and_keep_their_colours():
    images = image_set("train", [0, 1], channels=3, side=56)
    seen = Pixels(images)
    assert seen.model_args == {"channels": 3}
    rows = seen.rows(images)
    assert (rows.shape, rows.dtype) == ((2, 3 * 28 * 28), np.float32)
    assert 0 <= rows.min() < rows.max() <= 1
    assert rows[1].reshape(3, -1).mean(axis=1) == pytest.approx(images.array[1].mean(axis=(0, 1)) / 255, abs=0.01)


def test_pixels_of_real_images_are_those_that_are_stored(data_folder):
    images = open_data(data_folder / "medmnist" / "breastmnist.npz").split("val")
    rows = Pixels(images).rows(images)
    np.testing.assert_array_equal(np.rint(rows * 255), np.asarray(images.array).reshape(78, 784))


def classifier(seen=None):
    torch.manual_seed(0)
    small = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}
    provenance = {"seed": 5, "data": seen} if seen else {}
    bundle = Bundle("medmamba_nano", Task.BINARY, NAMES[:2], Preprocessing(32, 32), small, provenance=provenance)
    return NetworkClassifier(bundle, bundle.build_model().eval(), torch.device("cpu"))


def test_features_of_a_trained_network_are_those_it_gives(tmp_path):
    known = classifier({"name": "pets", "splits": "given"})
    known.bundle.save(tmp_path / "net", known.model.state_dict())
    data = data_set(Task.MULTICLASS)  # another question than the network's
    path = run(data, tmp_path, budget=TRIALS, features=tmp_path / "net")
    assert path.relative_to(tmp_path / "runs").as_posix() == (
        "toy/automl-features/flaml-3trials-32-medmamba_nano-seed0.json"
    )
    entries, arrays = read(path)
    assert entries["image_size"] == [32, 32]
    assert {key: entries["model_args"][key] for key in ("network", "trained_on", "seed")} == {
        "network": "medmamba_nano",
        "trained_on": "pets",
        "seed": 5,
    }
    assert arrays["scores"].shape == (24, 3)
    images = data.split("val")
    np.testing.assert_array_equal(Frozen(known).rows(images), known.features_and_scores(images)[0])


def test_a_network_that_may_have_seen_the_test_images_is_refused(tmp_path):
    known = classifier({"name": "busi", "splits": "given"})
    known.bundle.save(tmp_path / "net", known.model.state_dict())
    data = replace(data_set(), name="breastmnist")
    with pytest.raises(InputError, match="which does too, so perhaps on the same images"):
        run(data, tmp_path / "out", budget=TRIALS, features=tmp_path / "net")
    assert not (tmp_path / "out").exists()


def test_without_flaml_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flaml", None)
    with pytest.raises(InputError) as caught:
        run(data_set(), tmp_path / "out", budget=TRIALS)
    assert str(caught.value) == (
        "the AutoML baseline needs FLAML, which is not installed; pip install 'medmamba[automl]'"
    )
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError):
        require_flaml()


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        ({}, "give one of the two"),
        ({"seconds": 60, "trials": 5}, "give one of the two"),
        ({"seconds": 0}, "0 seconds are no time"),
        ({"seconds": float("nan")}, "no time"),
        ({"trials": 1}, "nothing to choose from; give 2"),
    ],
)
def test_an_impossible_budget_is_refused(budget, sentence):
    with pytest.raises(InputError, match=sentence):
        Budget(**budget)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (data_set(val=None), "toy has no split 'val'"),
        (data_set(val=image_set("val", [1, 1, 1])), "the validation split has images of 1 classes"),
        (data_set(train=image_set("train", [0, 0])), "the training split has images of 1 classes"),
        (data_set(Task.MULTICLASS, train=image_set("train", [0, 1] * 9)), "class number 2 has validation images"),
        (replace(data_set(), task=Task.MULTILABEL), "toy is multi-label"),
    ],
)
def test_data_without_a_choice_is_refused_in_one_sentence(tmp_path, data, sentence):
    with pytest.raises(InputError, match=sentence):
        run(data, tmp_path / "out", budget=TRIALS)
    assert not (tmp_path / "out").exists()


def test_columns_without_variety_stay_finite():
    values = np.array([[1, 5], [3, 5]], np.float32)
    view = View.of(Table(values, np.array([0, 1])), 2)
    np.testing.assert_array_equal(view.scaled(values), [[-1, 0], [1, 0]])
