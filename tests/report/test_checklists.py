"""The reporting checklists: complete, answered from the record, and honest where it is silent."""

import re
from dataclasses import replace

import numpy as np
import pytest

from medmamba.bundle import Bundle
from medmamba.card import card
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.data.related import lineage
from medmamba.decisions import Conformal, Decisions
from medmamba.errors import InputError
from medmamba.metrics import summarise
from medmamba.report.checklists import CHECKLISTS, SENTENCE, checklists
from medmamba.report.checklists.record import Record
from medmamba.tasks import Task
from medmamba.training.config import TrainConfig
from medmamba.training.provenance import describe_data, describe_run
from medmamba.training.recipe import load_recipe

CLASSES = ("benign", "mal|ignant")
# what a bundle says of itself even if nothing else was recorded
ALWAYS = {
    "CLAIM 2024": {"1", "9", "10", "22", "27"},
    "TRIPOD+AI": {"1", "7", "8a", "9a", "9b", "12b", "12c", "12g", "15", "22"},
}


def images(n: int, patients: int | None) -> ImageSet:
    groups = None if patients is None else tuple(f"p{k % patients}" for k in range(n))
    pixels = np.zeros((n, 8, 8), np.uint8)
    return ImageSet(tuple(map(str, range(n))), np.arange(n) % 2, groups, array=pixels)


def make_bundle(patients: int | None = 5, **changes: object) -> Bundle:
    """As a run on a set that is called like one of the catalogue leaves it, but for the training."""
    splits = {"train": images(16, patients), "val": images(6, patients and 3)}
    opened = {name: lambda each=each: each for name, each in splits.items()}
    data = Dataset("breastmnist_64", Task.BINARY, CLASSES, opened, positive=1, notes=("3 files are not used",))
    data = replace(data, made_splits=("val", "test"))
    about = describe_data(data, splits, seed=7) | lineage(data, ())
    config = TrainConfig(seed=7, epochs=4)
    run = describe_run(config, load_recipe("quick", epochs=4, imbalance="class-weights"), about, "medmamba train x")
    outcome = {
        "start": "random weights",
        "backend": "cpu",
        "device": "cpu",
        "precision": "32-true",
        "best_epoch": 3,
        "epochs": 4,
        "validation": {"n": 6, "loss": 0.4321, "auc": 0.8765, "per_class": []},
        "seconds": 12.5,
        "ended": "finished",
    }
    fitted = {
        "data": "breastmnist_64",
        "split": "val",
        "n": 6,
        "date": "2026-01-02T03:04:05+00:00",
        "point": "sensitivity at least 0.95",
        "before": {"nll": 0.9, "brier": 0.5, "ece": 0.25},
        "after": {"nll": 0.6, "brier": 0.4, "ece": 0.125},
        "notes": [],
    }
    decisions = Decisions(1.75, Conformal(0.1, (0.6, 0.7), by_class=True), 0.05, fitted)
    bundle = Bundle("medmamba_nano", Task.BINARY, CLASSES, Preprocessing(32, 48, channels=1), threshold=0.3125)
    return replace(bundle, decisions=decisions, provenance=run | outcome, **changes)


def make_metrics(bundle: Bundle, name: str = "breastmnist_64", split: str = "test") -> dict:
    scores = np.array([0.9, 0.2, 0.4, 0.1, 0.8, 0.3, 0.2, 0.6])
    targets = np.array([1, 0, 1, 0, 1, 0, 0, 0])
    summary = summarise(
        bundle.task, np.stack([1 - scores, scores], 1), targets, CLASSES, threshold=bundle.threshold, resamples=50
    )
    row = {"value": "north", **{key: summary[key] for key in ("n", "patients", "accuracy", "balanced_accuracy", "auc")}}
    sure = {"ece": {"value": 0.111, "low": 0.05, "high": 0.2}, "slope": 1.5, "intercept": -0.25}
    return summary | {
        "subgroups": {"site": [row]},
        "calibration": {"temperature": 1.75, "before": sure, "after": sure},
        "data": {"name": name, "split": split, "notes": []},
        "model": {
            "name": bundle.model,
            "trained_on": {"fingerprint": bundle.provenance["data"]["fingerprint"]},
            "parameters": 1784962,
            "flops_total": 16971776,
        },
        "made": {"date": "2026-02-03T04:05:06+00:00", "device": "cpu", "versions": {"medmamba": "0.1.0", "onnx": None}},
    }


def answers(text: str) -> dict[tuple[str, str], str]:
    """What the page says from the record, by checklist and number."""
    found, title = {}, ""
    for line in text.splitlines():
        title = line.removeprefix("## ") if line.startswith("## ") else title
        cells = re.split(r"(?<!\\)\|", line)
        if line.startswith("| ") and re.fullmatch(r" \d+[a-z]? ", cells[1]):
            assert len(cells) == 6, line
            found[title, cells[1].strip()] = cells[3].strip()
    return found


def test_all_items_are_there_once_in_order_each_with_a_topic():
    claim, tripod = CHECKLISTS
    assert [item.number for item in claim.items] == [str(k) for k in range(1, 45)]
    mains = [int(re.match(r"\d+", item.number)[0]) for item in tripod.items]
    assert list(dict.fromkeys(mains)) == list(range(1, 28))
    assert mains == sorted(mains)
    assert len(tripod.items) == 52
    for main in set(mains):  # letters without a gap: 5a 5b, never 5b alone
        numbers = [item.number for item, its in zip(tripod.items, mains, strict=True) if its == main]
        letters = [f"{main}{chr(ord('a') + k)}" for k in range(len(numbers))]
        assert numbers in ([str(main)], letters)
    for checklist in CHECKLISTS:
        assert all(item.topic and (item.answer or not item.add) for item in checklist.items)


@pytest.mark.parametrize("full", [True, False])
def test_every_item_has_an_answer_or_the_sentence(full):
    bundle = make_bundle()
    text = checklists(bundle, make_metrics(bundle)) if full else checklists(replace(bundle, provenance={}))
    told = answers(text)
    assert set(told) == {(checklist.name, item.number) for checklist in CHECKLISTS for item in checklist.items}
    assert all(told.values())
    for checklist in CHECKLISTS:
        for item in checklist.items:
            if item.answer is None:
                assert told[checklist.name, item.number] == SENTENCE


def test_from_a_full_record_the_answers_hold_its_values():
    bundle = make_bundle()
    metrics = make_metrics(bundle)
    told = answers(checklists(bundle, metrics))
    claim = {number: text for (name, number), text in told.items() if name == "CLAIM 2024"}
    tripod = {number: text for (name, number), text in told.items() if name == "TRIPOD+AI"}
    assert bundle.provenance["data"]["fingerprint"] in claim["7"]
    assert "al-dhabyani" in claim["7"].lower()  # of the catalogue's row, to be cited
    assert "32 x 48" in claim["9"]
    assert "3 files are not used" in claim["12"]
    assert "val, test made here, seed 7" in claim["19"]
    assert "train: 16 images of 5 patients (benign 8, mal\\|ignant 8)" in claim["19"]
    assert "class-weights" in claim["19"]
    assert "class-weights" in tripod["13"]
    assert "by patient" in claim["20"]
    assert "1,784,962 parameters" in claim["22"]
    assert bundle.provenance["versions"]["torch"] in claim["23"]
    assert "onnx" not in claim["23"]  # None: it was not there
    assert "random weights" in claim["24"]
    assert "lr 0.002" in claim["25"]
    assert "12.5 seconds" in claim["25"]
    assert "epoch 3 of 4" in claim["26"]
    assert "0.8765" in claim["26"]
    assert metrics["interval"]["method"] in claim["29"]
    assert claim["32"].startswith("split test of breastmnist_64; 8 images")
    assert claim["33"] == SENTENCE
    auc = metrics["auc"]
    assert f"AUC {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})" in claim["37"]
    assert "ECE 0.111 (0.050 to 0.200)" in claim["37"]
    assert "site north (n 8)" in claim["37"]
    assert "north 8" in claim["36"]
    sensitivity = metrics["per_class"][1]["sensitivity"]["value"]
    assert f"mal\\|ignant (n 3): sensitivity {sensitivity:.3f}" in claim["38"]
    assert "benign taken for mal\\|ignant: 1 of 5" in claim["39"]
    assert "threshold 0.3125" in tripod["15"]
    assert "sensitivity at least 0.95" in tripod["15"]
    assert "divided by 1.75" in tripod["15"]
    assert "ECE 0.25 to 0.125" in tripod["24"]
    assert "50.0% of training images, 62.5% of evaluated" in tripod["20c"]
    assert "0.05 of validation images" in tripod["27a"]


def test_from_an_empty_record_everything_else_is_not_available_and_nothing_fails():
    told = answers(checklists(Bundle("medmamba_nano", Task.BINARY, CLASSES, Preprocessing(32, 32))))
    for checklist in CHECKLISTS:
        answered = {item.number for item in checklist.items if told[checklist.name, item.number] != SENTENCE}
        assert answered == ALWAYS[checklist.name]


@pytest.mark.parametrize("lost", ["data", "validation", "recipe", "config", "versions", "best_epoch", "start"])
def test_a_record_with_a_gap_is_told_without_it(lost):
    bundle = make_bundle()
    metrics = make_metrics(bundle)
    for key in ("subgroups", "calibration", "interval", "made", "majority_baseline", "notes"):
        checklists(bundle, {name: value for name, value in metrics.items() if name != key})
    kept = {name: value for name, value in bundle.provenance.items() if name != lost}
    bundle = replace(bundle, provenance=kept)
    assert answers(checklists(bundle))


def test_every_number_comes_from_a_named_run_and_evaluation():
    bundle = make_bundle()
    text = checklists(bundle, make_metrics(bundle))
    assert bundle.provenance["date"] in text
    assert "evaluation (metrics.json): date 2026-02-03T04:05:06+00:00, split test of breastmnist_64, 8 images" in text
    assert "none was given" in checklists(bundle)


def test_figures_of_another_model_are_refused():
    bundle = make_bundle()
    other = make_metrics(bundle)
    other["model"]["trained_on"] = {"fingerprint": "another"}
    with pytest.raises(InputError, match="training data differ"):
        checklists(bundle, other)
    with pytest.raises(InputError, match="classes differ"):
        checklists(bundle, make_metrics(bundle) | {"classes": ["mal|ignant", "benign"]})


def test_an_evaluation_from_before_the_calibration_is_told():
    bundle = make_bundle()
    metrics = make_metrics(bundle)
    assert "evaluate it again" not in checklists(bundle, metrics)
    assert "evaluate it again" in checklists(replace(bundle, threshold=0.5), metrics)
    assert "evaluate it again" in checklists(replace(bundle, decisions=Decisions()), metrics)


def test_other_data_is_an_external_test_and_validation_images_are_optimistic():
    bundle = make_bundle()
    told = answers(checklists(bundle, make_metrics(bundle, name="elsewhere")))
    assert told["CLAIM 2024", "33"].startswith("elsewhere, another data set")
    assert told["CLAIM 2024", "32"] == SENTENCE
    seen = answers(checklists(bundle, make_metrics(bundle, split="val")))
    assert "figures are optimistic" in seen["CLAIM 2024", "40"]
    assert "figures are optimistic" not in told["CLAIM 2024", "40"]


def test_splits_are_by_patient_only_where_patients_are_known_and_apart():
    def level(bundle):
        return answers(checklists(bundle))["CLAIM 2024", "20"]

    assert level(make_bundle(patients=None)) == "patients are unknown, so by image at most"
    bundle = make_bundle()
    data = bundle.provenance["data"]
    allowed = replace(bundle, provenance={"data": data | {"allowed": ["patient-overlap: 2 patients are in both"]}})
    assert level(allowed) == "trained in spite of patient-overlap: 2 patients are in both"
    old = replace(bundle, provenance={"data": {key: value for key, value in data.items() if key != "patients"}})
    assert level(old) == SENTENCE


def test_the_worst_of_a_sweep_is_told():
    bundle = make_bundle()
    cells = [{"corruption": "fog", "severity": 5, "balanced_error": {"value": 0.5, "low": 0.4, "high": 0.6}}]
    clean = {"balanced_error": {"value": 0.125, "low": None, "high": None}}
    sweep = {"n": 8, "classes": list(CLASSES), "clean": clean, "cells": cells, "corruptions": [{"name": "fog"}]}
    told = answers(checklists(bundle, None, sweep))["CLAIM 2024", "30"]
    assert "fog at severity 5, 0.500 (0.400 to 0.600)" in told
    assert "0.125 for clean" in told
    with pytest.raises(InputError, match="other classes"):
        checklists(bundle, None, sweep | {"classes": ["a", "b"]})


def test_names_stay_in_their_cells():
    bundle = make_bundle()
    data = bundle.provenance["data"] | {"name": "a | b\n| <script> | `c` |", "notes": ["[x](http://y)"]}
    text = checklists(replace(bundle, provenance=bundle.provenance | {"data": data}))
    assert len(answers(text)) == 96
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "[x]" not in text.replace("\\[x\\]", "")


@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.MULTILABEL, Task.ORDINAL])
def test_other_tasks(task):
    classes = ("a", "b", "c")
    thresholds = (0.25, 0.5, 0.75) if task is Task.MULTILABEL else 0.5
    bundle = Bundle("resnet18", task, classes, Preprocessing(8, 8), threshold=thresholds)
    scores = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    targets = (scores > 0.4).astype(int) if task is Task.MULTILABEL else np.arange(12) % 3
    metrics = summarise(task, scores, targets, classes, threshold=thresholds, resamples=20)
    metrics |= {"data": {"name": "elsewhere", "split": "all"}}
    text = checklists(bundle, metrics)
    assert "evaluate it again" not in text
    told = answers(text)
    words = {Task.MULTILABEL: "a 0.25, b 0.5, c 0.75"}.get(task, "the most probable class")
    assert words in told["TRIPOD+AI", "15"]
    assert told["CLAIM 2024", "39"] != SENTENCE


@pytest.mark.parametrize(("name", "row"), [("breastmnist_64", "breastmnist"), ("PAD-UFES-20", "pad-ufes-20")])
def test_a_set_of_the_catalogue_is_known_by_its_name(name, row):
    record = Record(replace(make_bundle(), provenance={"data": {"name": name}}))
    assert record.row is not None
    assert record.row.name == row
    other = Record(replace(make_bundle(), provenance={"data": {"name": f"{name} of our hospital"}}))
    assert other.row is None


def test_the_card_tells_what_calibrate_chose_and_how_each_class_fared():
    bundle = make_bundle()
    rows = [{"name": CLASSES[0], "n": 3, "sensitivity": 0.6667}, {"name": CLASSES[1], "n": 3, "sensitivity": None}]
    validation = bundle.provenance["validation"] | {"per_class": rows}
    text = card(replace(bundle, provenance=bundle.provenance | {"validation": validation}))
    assert "| threshold | 0.3125, for sensitivity at least 0.95 |" in text
    assert "| temperature | 1.75 |" in text
    assert "6 images of the split val of breastmnist_64, 2026-01-02T03:04:05+00:00" in text
    assert "| benign | 8 | 3 | 0.67 |" in text
    assert "| mal\\|ignant | 8 | 3 | - |" in text
    plain = card(Bundle("resnet18", Task.MULTICLASS, ("a", "b"), Preprocessing(8, 8)))
    assert "medmamba calibrate was not run" in plain
    assert "threshold" not in plain
    assert "| a | unknown | unknown | unknown |" in plain


def test_the_most_frequent_mistakes_come_first():
    bundle = Bundle("resnet18", Task.MULTICLASS, ("a", "b", "c"), Preprocessing(8, 8))
    rows = [{"name": name, "n": 10} for name in bundle.classes]
    metrics = {"n": 30, "per_class": rows, "confusion_matrix": [[8, 2, 0], [0, 10, 0], [5, 1, 4]]}
    told = answers(checklists(bundle, metrics))["CLAIM 2024", "39"]
    assert told.startswith("c taken for a: 5 of 10; a taken for b: 2 of 10; c taken for b: 1 of 10; all of them")
    right = metrics | {"confusion_matrix": [[10, 0, 0], [0, 10, 0], [0, 0, 10]]}
    assert answers(checklists(bundle, right))["CLAIM 2024", "39"].startswith("no image was decided wrongly")
