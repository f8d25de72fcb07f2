"""`evaluate` with a model whose answers are known: the files it writes, and what it refuses."""

import csv
import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from medmamba.bundle import Bundle
from medmamba.data import Dataset
from medmamba.data.dataset import ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.data.related import lineage
from medmamba.decisions import Decisions
from medmamba.errors import InputError
from medmamba.evaluation import evaluate
from medmamba.evaluation.scoring import scores_table
from medmamba.metrics import summarise
from medmamba.predictor.network import NetworkClassifier
from medmamba.tasks import Task

FILES = ["confusion_matrix.png", "curves.json", "metrics.json", "reliability.png", "roc.png", "scores.csv"]


@dataclass
class Known:
    """A classifier that answers from a table; the first pixel of an image says which row is its own."""

    bundle: Bundle
    table: np.ndarray
    device = "cpu"
    backend = "reference"
    complexity = None
    kind = None

    def __post_init__(self):
        self.classes = self.bundle.classes
        self.model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.LazyLinear(2))
        self.model(torch.zeros(1, 3, 8, 8))

    def scores(self, images, *, batch_size=64, progress=None):
        if progress:
            progress(len(images), len(images))
        return np.stack([self.table[int(images.read(row).flat[0])] for row in range(len(images))])


def case(task=Task.BINARY, classes=("benign", "malignant"), n=60, groups=None, positive=1, threshold=0.5):
    generator = np.random.default_rng(0)
    shape = (n, len(classes)) if task is Task.MULTILABEL else n
    targets = generator.integers(0, 2 if task is Task.MULTILABEL else len(classes), shape)
    table = generator.dirichlet(np.ones(len(classes)), n)
    array = np.zeros((n, 2, 2), dtype=np.uint8)
    array[:, 0, 0] = np.arange(n)
    images = ImageSet(tuple(f"test/{row}" for row in range(n)), targets, groups, array=array)
    bundle = Bundle("resnet18", task, classes, Preprocessing(8, 8), positive=positive, threshold=threshold)
    data = Dataset("toy", task, classes, {"test": lambda: images}, positive, notes=("made up",))
    return Known(bundle, table), data, images


def read_table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_writes_all_files_and_returns_what_it_wrote(tmp_path):
    classifier, data, _ = case()
    report = evaluate(classifier, data, out=tmp_path / "new" / "folder", resamples=50)
    out = tmp_path / "new" / "folder"
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert json.loads((out / "metrics.json").read_text()) == report
    assert report["data"] == {"name": "toy", "split": "test", "unit": "image", "notes": ["made up"]}
    assert report["model"]["name"] == "resnet18"
    net = classifier.bundle.build_model()  # as trained, not what is left of it for inference
    assert report["model"]["parameters"] == sum(parameter.numel() for parameter in net.parameters())
    assert report["model"]["macs_conv_linear"] > 0
    assert report["made"]["backend"] == "reference"
    for name in ("confusion_matrix.png", "roc.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 300


@pytest.mark.parametrize(
    ("task", "classes"),
    [(Task.BINARY, ("sick", "well")), (Task.MULTICLASS, ("a", "b", "c")), (Task.MULTILABEL, ("x", "y", "z"))],
)
def test_f048_every_figure_follows_from_the_table_alone(tmp_path, task, classes):
    groups = tuple(f"p{row // 3}" for row in range(60))
    classifier, data, images = case(task, classes, groups=groups, positive=0, threshold=0.37)
    report = evaluate(classifier, data, out=tmp_path, resamples=50, seed=5)
    rows = read_table(tmp_path / "scores.csv")
    assert [row["file"] for row in rows] == list(images.names)
    scores = np.array([[float(row[name]) for name in classes] for row in rows])
    labels = [row["label"].split("|") for row in rows]
    table = np.array([[int(name in label) for name in classes] for label in labels])
    targets = table if task is Task.MULTILABEL else table.argmax(axis=1)
    again = summarise(
        task,
        scores,
        targets,
        classes,
        positive=0,
        threshold=0.37,
        groups=tuple(row["group"] for row in rows),
        resamples=50,
        seed=5,
    )
    assert again == {key: report[key] for key in again}
    if task is Task.MULTILABEL:
        answers = [row["prediction"].split("|") for row in rows]
        right = [
            (name in label) == (name in answer)
            for label, answer in zip(labels, answers, strict=True)
            for name in classes
        ]
    else:
        right = [row["prediction"] == row["label"] for row in rows]
    assert report["accuracy"]["value"] == pytest.approx(np.mean(right), abs=1e-12)


def test_the_table_quotes_what_needs_it_and_has_no_group_column_without_patients():
    classifier, _, images = case(classes=('a, "b"', "malignant"))
    images = replace(images, names=tuple(f"x,{row}\n.png" for row in range(60)))
    rows = list(csv.reader(scores_table(classifier.bundle, images, classifier.table).splitlines(keepends=True)))
    assert rows[0] == ["file", "label", "prediction", 'a, "b"', "malignant"]
    assert rows[1][0] == "x,0\n.png"
    assert len(rows) == 61


def test_the_threshold_of_the_bundle_decides(tmp_path):
    strict, data, _ = case(threshold=0.9)
    lax, _, _ = case(threshold=0.1)
    sensitivity = [
        evaluate(classifier, data, out=tmp_path, resamples=0)["positive_class"]["sensitivity"]["value"]
        for classifier in (strict, lax)
    ]
    assert sensitivity[0] < sensitivity[1]


def test_f041_classes_that_the_model_does_not_know_are_named(tmp_path):
    classifier, _, _ = case(Task.MULTICLASS, ("a", "b", "c"))
    _, data, _ = case(Task.MULTICLASS, ("a", "b", "c", "d", "extra one"))
    with pytest.raises(InputError, match="'d', 'extra one'"):
        evaluate(classifier, data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_f041_a_folder_with_two_more_classes_is_refused(tmp_path):
    for name in ("benign", "malignant", "cyst", "scar"):
        for split in ("train", "test"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            Image.new("L", (8, 8)).save(tmp_path / "data" / split / name / "0.png")
    classifier, _, _ = case()
    with pytest.raises(InputError, match=r"cyst.*scar"):
        evaluate(classifier, tmp_path / "data", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_is_opened_with_the_classes_of_the_model(tmp_path):
    for k, name in enumerate(("malignant", "benign")):
        folder = tmp_path / "data" / "test" / name
        folder.mkdir(parents=True)
        for row in range(2):
            Image.new("L", (8, 8), 2 * k + row).save(folder / f"{row}.png")
    classifier, _, _ = case(classes=("malignant", "benign"))
    classifier.table = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.6, 0.4]])
    report = evaluate(classifier, tmp_path / "data", out=tmp_path / "out", resamples=0)
    assert report["confusion_matrix"] == [[2, 0], [1, 1]]


def test_other_order_other_task_and_other_split_are_refused(tmp_path):
    classifier, data, _ = case()
    with pytest.raises(InputError, match="in this order"):
        evaluate(classifier, replace(data, classes=data.classes[::-1]), out=tmp_path)
    with pytest.raises(InputError, match=r"multi-label data set.*binary task"):
        evaluate(classifier, replace(data, task=Task.MULTILABEL), out=tmp_path)
    with pytest.raises(InputError, match="only test"):
        evaluate(classifier, data, "val", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_and_negative_resamples_are_refused(tmp_path):
    classifier, data, _ = case()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match="is a file"):
        evaluate(classifier, data, out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
    with pytest.raises(InputError, match="resamples"):
        evaluate(classifier, data, out=tmp_path, resamples=-1)


def test_c06_preprocessing_is_that_of_the_bundle(tmp_path):
    _, data, images = case(n=6)
    images = replace(images, array=np.random.default_rng(0).integers(0, 256, (6, 32, 32), dtype=np.uint8))
    data = replace(data, splits={"test": lambda: images})
    tables = []
    for mean in (0.5, 0.3):
        bundle = Bundle("resnet10t", Task.BINARY, data.classes, Preprocessing(32, 32, mean=mean))
        torch.manual_seed(0)
        classifier = NetworkClassifier(bundle, bundle.build_model().eval(), torch.device("cpu"))
        report = evaluate(classifier, data, out=tmp_path, resamples=0)
        assert report["model"]["preprocessing"]["mean"] == mean
        tables.append((tmp_path / "scores.csv").read_text())
    assert tables[0] != tables[1]


def test_an_ordinal_model_takes_a_folder_that_reads_as_multi_class(tmp_path):
    classifier, data, _ = case(Task.ORDINAL, ("1", "2", "3"))
    report = evaluate(classifier, replace(data, task=Task.MULTICLASS), out=tmp_path, resamples=0)
    assert report["task"] == "ordinal"


def test_only_the_split_that_was_asked_for_is_opened(tmp_path):
    classifier, data, images = case()
    opened = []

    def opener(name):
        return lambda: opened.append(name) or images

    data = replace(data, splits={name: opener(name) for name in ("train", "val", "test")})
    evaluate(classifier, data, "val", out=tmp_path, resamples=0)
    assert opened == ["val"]


def test_a_failure_while_drawing_leaves_the_old_metrics(tmp_path, monkeypatch):
    classifier, data, _ = case()
    evaluate(classifier, data, out=tmp_path, resamples=0)
    before = (tmp_path / "metrics.json").read_bytes()
    monkeypatch.setattr("medmamba.evaluation.plots.roc", lambda *_: SimpleNamespace().missing)
    with pytest.raises(AttributeError):
        evaluate(classifier, data, out=tmp_path, resamples=20)
    assert (tmp_path / "metrics.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def trained_on(classifier, data):
    classifier.bundle = replace(classifier.bundle, provenance={"data": {"fingerprint": data.fingerprint()}})
    return classifier


def test_a_split_that_we_cut_is_only_scored_for_the_images_that_were_trained_on(tmp_path):
    """Else images of our test part may have been in the training part of another cut."""
    classifier, data, images = case()
    data = replace(data, splits={"train": lambda: images, "test": lambda: images}, made_splits=("train", "test"))
    assert evaluate(trained_on(classifier, data), data, out=tmp_path / "same", resamples=0)["n"] == 60
    renamed = replace(images, names=tuple(f"other/{row}" for row in range(60)))
    other = replace(data, splits={"train": lambda: renamed, "test": lambda: renamed})
    with pytest.raises(InputError, match="came without a split 'test', and its images, labels or patients are not"):
        evaluate(classifier, other, out=tmp_path / "other", resamples=0)
    assert not (tmp_path / "other").exists()
    assert evaluate(classifier, other, "all", out=tmp_path / "all", resamples=0)["n"] == 120


def test_data_without_splits_is_cut_as_in_training(tmp_path):
    """With the seed of the bundle, whatever the seed of the bootstrap."""
    from medmamba.data import open_data

    generator = np.random.default_rng(0)
    for name in ("benign", "malignant"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(20):
            pixels = np.full((4, 4), generator.integers(0, 59), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    classifier, _, _ = case()
    trained = open_data(tmp_path / "images", seed=5)
    origin = {"seed": 5, "data": {"fingerprint": trained.fingerprint()}}
    classifier.bundle = replace(classifier.bundle, provenance=origin)
    evaluate(classifier, tmp_path / "images", out=tmp_path / "out", resamples=10, seed=1)
    scored = [row["file"] for row in read_table(tmp_path / "out" / "scores.csv")]
    assert scored == list(trained.split("test").names)


def test_f052_a_model_that_gives_one_answer_is_said_to(tmp_path):
    classifier, data, _ = case()
    classifier.table[:] = (0.9, 0.1)
    notes = evaluate(classifier, data, out=tmp_path, resamples=0)["notes"]
    assert any(note.startswith("The model never answered 'malignant' (") for note in notes)
    assert any(note.startswith("100% of the answers are 'benign', which ") for note in notes)


def test_a_scope_that_cannot_be_checked_is_not_reported(tmp_path):
    """As in an exported file, which knows that the model has a scope and has no features to tell by."""
    classifier, data, _ = case()
    bundle = replace(classifier.bundle, decisions=Decisions(scope=0.05))
    assert evaluate(replace(classifier, bundle=bundle), data, out=tmp_path, resamples=0)["scope"] is None


def test_figures_on_training_images_are_noted_in_the_metrics(tmp_path):
    classifier, data, images = case()
    data = replace(data, splits={"train": lambda: images, "test": lambda: images})
    origin = {"data": {"name": data.name, **lineage(data, ())}}
    known = replace(classifier, bundle=replace(classifier.bundle, provenance=origin))
    report = evaluate(known, data, "all", out=tmp_path / "all", resamples=0)
    sentence = "the evaluated split all took part in training or in the choice of the epoch: figures are optimistic"
    assert sentence in report["notes"]
    assert sentence in json.loads((tmp_path / "all" / "metrics.json").read_text())["notes"]
    report = evaluate(known, data, "test", out=tmp_path / "test", resamples=0)
    assert not any("optimistic" in note for note in report["notes"])
