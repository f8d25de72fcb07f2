"""Figures for parts of the images, by a column of the table."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_scoring import case

from medmamba.data import open_data
from medmamba.errors import InputError
from medmamba.evaluation import evaluate
from medmamba.metrics import summarise


def with_columns(data, images, **columns):
    images = replace(images, attributes=columns)
    return replace(data, splits={"test": lambda: images}), images


def test_each_value_has_the_figures_of_its_images_alone(tmp_path):
    classifier, data, images = case()
    sites = tuple("north" if row % 3 else "south" for row in range(60))
    data, _ = with_columns(data, images, site=sites, sex=("f", "m", "") * 20)
    report = evaluate(classifier, data, out=tmp_path, resamples=100, by=("SITE", "sex"))
    north, south = report["subgroups"]["site"]
    assert (north["value"], north["n"], south["value"], south["n"]) == ("north", 40, "south", 20)
    rows = np.array([site == "south" for site in sites])
    alone = summarise(data.task, classifier.table[rows], images.targets[rows], data.classes, positive=1, resamples=100)
    for name in ("accuracy", "auc", "balanced_accuracy"):
        assert south[name] == {key: alone[name][key] for key in ("value", "low", "high")}
    assert south["sensitivity"]["value"] == alone["positive_class"]["sensitivity"]["value"]
    assert [part["value"] for part in report["subgroups"]["sex"]] == ["f", "m", "not given"]
    json.dumps(report, allow_nan=False)


def test_numbers_are_cut_in_quarters_and_a_class_may_be_absent(tmp_path):
    classifier, data, images = case()
    order = np.argsort(np.argsort(images.targets, kind="stable"))  # the youngest all have class 0
    data, _ = with_columns(data, images, age=tuple(f"{20 + age}" for age in order))
    parts = evaluate(classifier, data, out=tmp_path, resamples=50, by=("age",))["subgroups"]["age"]
    assert sum(part["n"] for part in parts) == 60
    assert len(parts) == 4
    youngest = next(part for part in parts if part["value"].startswith("20 to under "))
    assert youngest["absent_classes"] == ["malignant"]
    assert youngest["auc"]["value"] is None


def test_a_column_that_cannot_be_used_is_named(tmp_path):
    classifier, data, images = case()
    data, _ = with_columns(data, images, site=("a", "b") * 30, name=tuple(f"n{row}" for row in range(60)))
    with pytest.raises(InputError, match=r"no column 'sit'.*site"):
        evaluate(classifier, data, out=tmp_path / "x", by=("sit",))
    with pytest.raises(InputError, match="60 different values"):
        evaluate(classifier, data, out=tmp_path / "x", by=("name",))
    assert not (tmp_path / "x").exists()


def test_columns_of_a_table_come_with_its_images(tmp_path):
    rows = ["file,label,split,site"]
    for row in range(8):
        Image.new("L", (8, 8), row).save(tmp_path / f"{row}.png")
        rows.append(f"{row}.png,{'ab'[row % 2]},{'train' if row < 4 else 'test'},s{row}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    data = open_data(tmp_path / "labels.csv")
    assert data.split("test").attributes == {"site": ("s4", "s5", "s6", "s7")}
    assert sorted(data.split("all").attributes["site"]) == [f"s{row}" for row in range(8)]
