"""Figures 3 to 7 of the paper: what is drawn equals what is given, and what is missing is said and not filled in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

import medmamba
from medmamba.bundle import Bundle
from medmamba.data import Preprocessing, open_data
from medmamba.drawing import COLOURS, new_figure
from medmamba.errors import InputError
from medmamba.models import create_model
from medmamba.paper.figures import FIGURES, Inputs
from medmamba.paper.figures.inputs import of_class
from medmamba.paper.figures.placing import place_labels
from medmamba.paper.networks import label, network
from medmamba.paper.ours import ours
from medmamba.paper.plans import ABLATIONS
from medmamba.paper.sets import OWN, SOURCES, find, source_of
from medmamba.robustness.plots import by_corruption
from medmamba.tasks import Task

PAPERS = ["rotation", "colour_temperature", "blur"]
CLASSES = ("Platelets", "RBC", "WBC")
SMALL = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with one substitute, colour pictures of three classes, and one set of the paper."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for split, number in {"train": 7, "val": 2, "test": 5}.items():
        for k, name in enumerate(CLASSES):
            (folder / "bccd_cells" / split / name).mkdir(parents=True)
            for index in range(number):
                pixels = generator.integers(0, 150, (30, 40, 3), dtype=np.uint8) + np.uint8(40 * k)
                Image.fromarray(pixels).save(folder / "bccd_cells" / split / name / f"{index}.png")
    arrays = {}
    for split, number in {"train": 8, "val": 4, "test": 4}.items():
        arrays[f"{split}_images"] = generator.integers(0, 256, (number, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(number) % 2)[:, None].astype(np.uint8)
    (folder / "medmnist").mkdir()
    np.savez(folder / "medmnist" / "breastmnist.npz", **arrays)
    return folder


def save_bundle(folder: Path, model="medmamba_nano", recipe="quick", seed=0):
    arguments = SMALL if model == "medmamba_nano" else {}
    provenance = {"recipe": {"name": recipe}, "seed": seed, "data": {"name": "bccd_cells"}}
    bundle = Bundle(model, Task.MULTICLASS, CLASSES, Preprocessing(32, 32), model_args=arguments, provenance=provenance)
    torch.manual_seed(seed)
    network = bundle.build_model()
    torch.nn.init.normal_(network.get_classifier().weight, std=0.5)
    bundle.save(folder, network.state_dict())
    return folder


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    return save_bundle(tmp_path_factory.mktemp("runs") / "nano")


def inputs(data, out, **more):
    return Inputs(**{"data": data, "results": out / "none", "bundles": {}, "out": out, "device": "cpu", **more})


def panel(report, name):
    return next(each for each in report["panels"] if each["set"] == name)


def colours(path):
    return len(np.unique(np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3), axis=0))


def test_the_table_has_all_figures():
    assert list(FIGURES) == [f"figure{k}" for k in range(3, 8)]


def test_figure3_shows_what_is_there_and_names_what_is_not(data, tmp_path):
    report = FIGURES["figure3"](inputs(data, tmp_path))
    assert [each["set"] for each in report["panels"]] == ["breastmnist", "bccd"]
    assert len(report["absent"]) == len(OWN) - 1 == 15
    assert "BreastMNIST" not in report["absent"]
    assert "PathMNIST" in report["absent"]
    said = " ".join(report["notes"])
    assert "Absent, so not drawn: " + ", ".join(report["absent"]) in said
    assert "BCCD cells is no set of the paper" in said
    assert "not the official file" in said
    cells, breast = panel(report, "bccd"), panel(report, "breastmnist")
    assert (cells["of_the_paper"], breast["of_the_paper"]) == (False, True)
    assert cells["stands_for"] == ["BloodMNIST"]
    assert [each["class"] for each in cells["images"]] == [name for name in CLASSES for _ in range(2)]
    assert all(each["class"] in Path(each["name"]).parts for each in cells["images"])
    assert len({each["name"] for each in cells["images"]}) == 6
    targets = open_data(data / "medmnist" / "breastmnist.npz").split("train").targets
    assert [targets[int(each["name"].split("/")[1])] for each in breast["images"]] == [0, 0, 0, 1, 1, 1]
    assert json.loads((tmp_path / "figure3.json").read_text()) == report


def test_figure3_is_the_same_for_a_seed_and_another_for_another(data, tmp_path):
    made = {}
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        FIGURES["figure3"](inputs(data, tmp_path / name, seed=seed))
        made[name] = [(tmp_path / name / file).read_bytes() for file in ("figure3.png", "figure3.json")]
    assert made["a"] == made["b"]
    assert made["a"][0] != made["c"][0]


def test_figure3_refuses_a_folder_without_sets_and_writes_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds none of"):
        FIGURES["figure3"](inputs(tmp_path / "empty", tmp_path / "out"))
    with pytest.raises(InputError, match="there is no folder"):
        FIGURES["figure3"](inputs(tmp_path / "nowhere", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_real_sets_are_found_where_they_lie(data_folder):
    there = {name: find(data_folder, name) for name in SOURCES}
    named = {name: str(place.relative_to(data_folder)) for name, place in there.items() if place is not None}
    assert named == {
        "pneumoniamnist": "medmnist/pneumoniamnist_reassembled.npz",
        "breastmnist": "medmnist/breastmnist.npz",
        "retinamnist": "medmnist/retinamnist.npz",
        "busi": "busi256",
        "bccd": "bccd_cells",
        "isic2017": "isic2017",
        "malaria": "malaria",
    }
    for name, place in named.items():
        assert source_of(Path(place).stem).name == name


def test_an_unknown_set_is_refused_with_a_suggestion(data, nano, tmp_path):
    assert source_of("pneumoniamnist_reassembled").name == "pneumoniamnist"
    with pytest.raises(InputError, match="did you mean 'breastmnist'"):
        FIGURES["figure5"](inputs(data, tmp_path, bundles={"brestmnist": [nano]}))


# figure 4


def write_run(results, data, model, seed, right, *, recipe="medmnist", accuracy=None, classes=2, size=32):
    """A run whose answers are right where `right` says so, of `classes` classes in turn."""
    right = np.asarray(right, bool)
    targets = np.arange(len(right)) % classes
    scores = np.full((len(right), classes), 0.1, np.float32)
    scores[np.arange(len(right)), np.where(right, targets, (targets + 1) % classes)] = 0.9
    path = results / "runs" / data / model / f"{recipe}-{size}-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path.with_suffix(".npz"), scores=scores, targets=targets)
    value = float(right.mean()) if accuracy is None else accuracy
    entries = {"schema": 1, "data": data, "model": model, "model_args": {}, "recipe": recipe, "seed": seed}
    entries |= {"task": "binary" if classes == 2 else "multi-class", "positive": classes - 1}
    entries |= {"image_size": [size, size], "test": {"n": len(right), "accuracy": {"value": value}}}
    path.write_text(json.dumps(entries))
    return path


def answers(share, n=40, seed=0):
    right = np.zeros(n, bool)
    right[: round(share * n)] = True
    return np.random.default_rng(seed).permutation(right)


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    for seed, share in enumerate((0.8, 0.9)):
        write_run(folder, "breastmnist", "medmamba_nano", seed, answers(share, seed=seed))
        write_run(folder, "retinamnist", "medmamba_nano", seed, answers(share - 0.3, seed=seed), classes=5)
    write_run(folder, "breastmnist", "resnet10t", 0, answers(0.7))
    write_run(folder, "busi", "medmamba_nano", 0, answers(0.6), recipe="clinical", classes=3)
    return folder


def test_figure4_draws_the_numbers_of_the_runs(results, data, tmp_path):
    report = FIGURES["figure4"](inputs(data, tmp_path, results=results))
    assert [each["sets"] for each in report["panels"]] == [
        ["breastmnist", "retinamnist"],
        ["breastmnist"],
        ["retinamnist"],
        ["busi"],
    ]
    mean, breast, retina, busi = ({each["label"]: each for each in panel["points"]} for panel in report["panels"])
    nano, resnet = "MedMamba nano (32)", "resnet10t (32)"
    assert breast[nano]["accuracy"]["value"] == pytest.approx(0.85)
    assert retina[nano]["accuracy"]["value"] == pytest.approx(0.55)
    assert mean[nano]["accuracy"]["value"] == pytest.approx(0.70)
    assert breast[resnet]["accuracy"]["value"] == pytest.approx(0.70)
    assert busi[nano]["accuracy"]["value"] == pytest.approx(0.60)
    assert breast[nano]["seeds"] == [[0, 1]]
    assert mean[nano]["seeds"] == [[0, 1], [0, 1]]
    assert set(mean) == {nano}
    assert any("resnet10t" in reason and "BreastMNIST alone" in reason for reason in report["left_out"])
    parameters = sum(p.numel() for p in create_model("resnet10t", 6).parameters())
    assert breast[resnet]["parameters"] == parameters
    for each in (*mean.values(), *breast.values(), *retina.values(), *busi.values()):
        assert each["accuracy"]["low"] < each["accuracy"]["value"] < each["accuracy"]["high"]
    assert any("BUSI is no set of the paper" in note for note in report["notes"])
    assert all((results / "runs" / file).is_file() for each in mean.values() for file in each["runs"])


def test_the_mean_over_two_sets_is_known_better_than_either(data, tmp_path):
    for name in ("breastmnist", "pneumoniamnist"):  # the same answers, whose draws must differ all the same
        write_run(tmp_path / "results", name, "resnet10t", 0, answers(0.8, 100))
    report = FIGURES["figure4"](inputs(data, tmp_path, results=tmp_path / "results"))
    mean, *each = [panel["points"][0]["accuracy"] for panel in report["panels"]]
    widths = [one["high"] - one["low"] for one in each]
    assert len(widths) == 2
    assert mean["high"] - mean["low"] == pytest.approx(np.mean(widths) / np.sqrt(2), rel=0.15)


def test_figure4_is_the_same_twice(results, data, tmp_path):
    for name in ("a", "b"):
        FIGURES["figure4"](inputs(data, tmp_path / name, results=results))
    for file in ("figure4.png", "figure4.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_figure4_leaves_out_with_a_reason_and_never_draws_ablations(results, data, tmp_path):
    write_run(results, "breastmnist", "automl", 0, answers(0.8))
    write_run(results, "breastmnist", ABLATIONS[0], 0, answers(0.8))
    short = write_run(results, "breastmnist", "resnet18", 0, answers(0.8))  # for a picture, with fewer epochs
    for ending in (".npz", ".json"):
        short.with_suffix(ending).rename(short.with_name(f"medmnist-32-epochs20-seed0{ending}"))
    report = FIGURES["figure4"](inputs(data, tmp_path, results=results))
    drawn = {each["model"] for panel in report["panels"] for each in panel["points"]}
    assert drawn == {"medmamba_nano", "resnet10t"}
    assert any("automl" in reason and "cannot be counted" in reason for reason in report["left_out"])


def test_figure4_refuses_scores_that_are_not_those_of_the_file(results, data, tmp_path):
    write_run(results, "breastmnist", "resnet10t", 1, answers(0.7), accuracy=0.9)
    with pytest.raises(InputError, match=r"says accuracy 0\.9000, its scores 0\.7000"):
        FIGURES["figure4"](inputs(data, tmp_path / "out", results=results))
    write_run(results, "breastmnist", "resnet10t", 1, answers(0.7, n=20))
    with pytest.raises(InputError, match="different images"):
        FIGURES["figure4"](inputs(data, tmp_path / "out", results=results))
    with pytest.raises(InputError, match="holds no run"):
        FIGURES["figure4"](inputs(data, tmp_path / "out", results=tmp_path / "nothing"))
    assert not (tmp_path / "out").exists()


def test_a_point_has_the_mean_and_the_interval_of_the_cell_of_table_6(data, tmp_path):
    for seed, share in enumerate((0.7, 0.75, 0.9)):
        write_run(tmp_path / "results", "breastmnist", "resnet18", seed, answers(share, 156, seed), size=224)
        write_run(tmp_path / "results", "retinamnist", "resnet18", seed, answers(share, 90, seed), size=224, classes=5)
    report = FIGURES["figure4"](inputs(data, tmp_path, results=tmp_path / "results", seed=3))
    for name, panel in zip(("breastmnist", "retinamnist"), report["panels"][1:], strict=True):
        cell = ours(tmp_path / "results", name, network("resnet18"), (0, 1, 2)).figures["accuracy"]
        assert panel["sets"] == [name]
        assert panel["points"][0]["accuracy"] == {"value": cell.mean, "low": cell.low, "high": cell.high}
    assert report["panels"][0]["points"][0]["accuracy"]["value"] == pytest.approx((0.7 + 0.75 + 0.9) / 3, abs=0.01)


def test_labels_lie_on_no_other_and_inside():
    figure = new_figure(5, 4)
    axes = figure.add_subplot()
    generator = np.random.default_rng(0)
    x, y = generator.uniform(0.3, 0.6, 14), generator.uniform(0.3, 0.6, 14)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    place_labels(axes, x, y, [5.0] * 14, [f"model number {k}" for k in range(14)])
    renderer = figure.canvas.get_renderer()
    figure.canvas.draw()
    boxes = [Text.get_window_extent(words, renderer) for words in axes.texts]  # without the lines
    assert len(boxes) == 14
    for k, box in enumerate(boxes):
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1
        assert not any(box.padded(-1).overlaps(other.padded(-1)) for other in boxes[k + 1 :])


def test_names_are_the_papers():
    assert label("medmamba_tiny", "medmnist", [224, 224]) == "MedMamba-T"
    assert label("medmamba_tiny", "medmnist-autoaugment", [224, 224]) == "MedMamba-X"
    assert label("resnet18_small_stem", "medmnist", [28, 28]) == "ResNet-18 (28)"
    assert label("medmamba_tiny", "small") == "MedMamba-T (small)"
    assert (of_class("3"), of_class("a_b"), of_class("abcdef", 4)) == ("class 3", "a b", "abc\N{HORIZONTAL ELLIPSIS}")


# figures 5 to 7


def test_figure5_shows_what_the_model_answers_and_says_what_is_missing(data, nano, tmp_path):
    report = FIGURES["figure5"](inputs(data, tmp_path, bundles={"bccd_cells": [nano]}))
    assert [each["set"] for each in report["panels"]][:2] == ["busi", "breastmnist"]
    assert panel(report, "busi")["why_empty"] == "data absent"
    assert panel(report, "breastmnist")["why_empty"] == "no trained model was given"
    assert panel(report, "busi")["images"] == []
    cells = panel(report, "bccd")
    assert [each["class"] for each in cells["images"]] == list(CLASSES)
    classifier = medmamba.load(nano, device="cpu")
    for each in cells["images"]:
        said = classifier.predict([data / "bccd_cells" / each["name"]])[0]
        assert each["predicted"] == said.label
        assert each["probability"] == pytest.approx(said.probabilities[said.label], abs=1e-5)
    assert cells["model"]["model"] == "medmamba_nano"
    assert cells["model"]["trained_on"] == "bccd_cells"
    assert "the paper shows MedMamba-S" in report["notes"][0]
    again = FIGURES["figure5"](inputs(data, tmp_path / "again", bundles={"bccd": [nano]}))
    assert again == report
    assert (tmp_path / "figure5.png").read_bytes() == (tmp_path / "again" / "figure5.png").read_bytes()
    assert colours(tmp_path / "figure5.png") > 1000  # pictures and maps, not empty frames


@pytest.mark.slow
def test_figure5_takes_the_papers_size_first_and_no_other_network(data, nano, tmp_path):
    other = save_bundle(tmp_path / "resnet", "resnet10t")
    with_both = inputs(data, tmp_path / "out", bundles={"bccd": [other, nano]})
    assert panel(FIGURES["figure5"](with_both), "bccd")["model"]["model"] == "medmamba_nano"
    alone = replace(with_both, bundles={"bccd": [other]})
    assert panel(FIGURES["figure5"](alone), "bccd")["why_empty"] == "no trained MedMamba was given"


def test_figure6_draws_what_embed_found(data, nano, tmp_path):
    other = save_bundle(tmp_path / "resnet", "resnet10t")
    report = FIGURES["figure6"](inputs(data, tmp_path, bundles={"bccd": [nano, other, nano]}))
    cells = panel(report, "bccd")
    assert [each["label"] for each in cells["models"]] == ["MedMamba nano", "resnet10t"]
    kept = json.loads((tmp_path / "figure6" / "bccd" / "embedding.json").read_text())
    assert cells["n"] == kept["n"] == 15
    for each, row in zip(cells["models"], kept["models"], strict=True):
        assert each["points"] == kept["points"][row["name"]]
        assert len(each["points"]) == 15
        assert (each["silhouette"], each["neighbours"]) == (row["silhouette"], row["neighbours"])
    assert cells["majority_baseline"] == pytest.approx(1 / 3)
    assert panel(report, "busi")["why_empty"] == "data absent"
    assert panel(report, "busi")["models"] == []
    assert any("BCCD cells 0.333" in note for note in report["notes"])


def test_figure7_draws_the_accuracy_of_the_sweep(data, nano, tmp_path):
    report = FIGURES["figure7"](inputs(data, tmp_path, bundles={"bccd": [nano]}, limit=6))
    cells = panel(report, "bccd")
    kept = json.loads((tmp_path / "figure7" / "bccd" / "robustness.json").read_text())
    assert cells["n"] == kept["n"] == 6
    assert set(cells["accuracy"]) == {row["name"] for row in kept["corruptions"]}
    found = {(row["corruption"], row["severity"]): row["accuracy"] for row in kept["cells"]}
    for name, line in cells["accuracy"].items():
        assert line == [kept["clean"]["accuracy"], *(found[name, severity] for severity in range(1, 6))]
    assert panel(report, "retinamnist")["why_empty"] == "data absent"
    assert "the paper shows MedMamba-X" in report["notes"][0]


def test_a_panel_of_figure7_has_a_line_a_corruption_in_the_same_colours_whatever_applies():
    def figure(value):
        return {"accuracy": {"value": value, "low": value - 0.1, "high": value + 0.1}}

    cells = [
        {"corruption": name, "severity": severity, **figure(0.9 - drop * severity)}
        for severity in (3, 1, 5, 2, 4)  # as a report has them: not in order
        for name, drop in {"rotation": 0.1, "blur": 0.02}.items()
    ]
    corruptions = [{"name": name, "applies": name != "colour_temperature"} for name in PAPERS]
    axes = new_figure(4, 3).add_subplot()
    by_corruption(axes, {"clean": figure(0.9), "cells": cells, "corruptions": corruptions[:1]}, "accuracy", PAPERS)
    (line,) = axes.get_lines()
    assert line.get_ydata() == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert line.get_label() == "rotation"
    there = [row for row in corruptions if row["name"] in ("colour_temperature", "blur")]
    by_corruption(axes, {"clean": figure(0.9), "cells": cells, "corruptions": there}, "accuracy", PAPERS)
    assert [each.get_label() for each in axes.get_lines()] == ["rotation", "blur"]
    assert axes.get_lines()[1].get_color() == COLOURS[2]
    low, high = axes.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.3, 1.0))


@pytest.mark.parametrize("name", ["figure5", "figure6", "figure7"])
def test_without_a_trained_model_nothing_is_drawn(name, data, tmp_path):
    with pytest.raises(InputError, match=r"nothing to show .*busi: data absent"):
        FIGURES[name](inputs(data, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
