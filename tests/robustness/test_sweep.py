"""A whole sweep with a classifier whose answers depend on the pixels: its rows, figures, files and refusals."""

import csv
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from medmamba.bundle import Bundle
from medmamba.cli import main
from medmamba.data import Dataset, Preprocessing
from medmamba.data.dataset import ImageSet
from medmamba.data.phantoms import phantom
from medmamba.errors import InputError
from medmamba.evaluation import evaluate
from medmamba.metrics import accuracy, balanced_accuracy
from medmamba.predictor import Classifier
from medmamba.robustness import CORRUPTIONS, sweep
from medmamba.robustness.figures import relative_errors
from medmamba.robustness.run import spread
from medmamba.robustness.scoring import score_corrupted
from medmamba.robustness.table import SEVERITIES, chosen
from medmamba.tasks import Task

FILES = ["robustness.csv", "robustness.json", "robustness.png"]
FIGURES = ("accuracy", "auc", "balanced_error", "flip_rate", "ece")
CLASSES = ("disc", "ring")


class Templates(Classifier):
    """Answers by the distance to a template of each class, at 32 x 32; remembers how many images it saw at once."""

    def __init__(self, templates, *, channels=1, task=Task.BINARY, classes=CLASSES, sharpness=200.0):
        bundle = Bundle("resnet18", task, classes, Preprocessing(32, 32, channels))
        super().__init__(bundle, device="cpu", backend="none")
        self.templates, self.sharpness, self.batches = templates, sharpness, []
        self.complexity = {"parameters": 0}  # known, so that `evaluate` builds no network to count it

    def probabilities(self, pixels):
        self.batches.append(len(pixels))
        grey = pixels.mean(axis=1) / 255
        logits = [-self.sharpness * ((grey - template) ** 2).mean(axis=(1, 2)) for template in self.templates]
        if self.bundle.task is Task.MULTILABEL:
            return 1 / (1 + np.exp(np.stack(logits[::-1], axis=1) - np.stack(logits, axis=1)))
        odds = np.exp(np.stack(logits, axis=1) - np.max(logits, axis=0)[:, None])
        return odds / odds.sum(axis=1, keepdims=True)

    def features_and_probabilities(self, pixels):
        raise NotImplementedError


def scene(index, *, size=96, channels=1):
    """Speckled tissue with a bright disc, or a bright ring, a little off the centre; the label is index % 2."""
    generator = np.random.default_rng(index)
    x = (np.arange(size) + 0.5) / size
    middle = 0.5 + generator.uniform(-0.05, 0.05, 2)
    distance = np.hypot(x[:, None] - middle[0], x - middle[1])
    inside = distance < 0.2 if index % 2 == 0 else (distance > 0.25) & (distance < 0.35)
    image = np.clip(0.6 * phantom(index, size=size)[0] + 45.0 * inside, 0, 255).astype(np.uint8)
    return image if channels == 1 else np.stack([image, image // 2, image // 3], axis=-1)


def scenes(n=20, *, channels=1, size=96, groups=None, task=Task.BINARY):
    array = np.stack([scene(k, size=size, channels=channels) for k in range(n)])
    targets = np.arange(n) % 2
    if task is Task.MULTILABEL:
        targets = np.stack([1 - targets, targets], axis=1)
    images = ImageSet(tuple(f"test/{k}" for k in range(n)), targets, groups, array=array)
    return Dataset("scenes", task, CLASSES, {"test": lambda: images}, positive=1), images


def part(start, stop):
    """Scenes `start` to `stop` as a split."""
    array = np.stack([scene(k) for k in range(start, stop)])
    return ImageSet(tuple(f"scene/{k}" for k in range(start, stop)), np.arange(start, stop) % 2, array=array)


def templates(**options):
    """The mean image of each class among other scenes."""
    size = (32, 32)
    means = []
    for label in (0, 1):
        pictures = [
            Image.fromarray(scene(k)).resize(size, Image.Resampling.BILINEAR) for k in range(100 + label, 140, 2)
        ]
        means.append(np.mean([np.asarray(picture) for picture in pictures], axis=0) / 255)
    return Templates(means, **options)


def test_f078_twenty_grey_images(tmp_path):
    data, _ = scenes(20)
    report = sweep(templates(), data, out=tmp_path / "a", corruptions=["all"], resamples=200)
    applicable = [row for row in CORRUPTIONS.values() if not row.needs_colour]
    cells = report["cells"]
    assert len(cells) == 5 * len(applicable) == 5 * 26
    assert {(row["corruption"], row["severity"]) for row in cells} == {
        (c.name, s) for c in applicable for s in SEVERITIES
    }
    errors = [row["balanced_error"]["value"] for row in cells]
    assert errors == sorted(errors, reverse=True)
    told = {row["name"]: row["why_not"] for row in report["corruptions"] if not row["applies"]}
    assert told == dict.fromkeys(("colour_temperature", "saturate"), "not applicable: the images are grey")
    assert "colour_temperature: not applicable: the images are grey." in report["notes"]
    for corruption in applicable:
        changes = [row["mean_change"] for row in cells if row["corruption"] == corruption.name]
        severities = [row["severity"] for row in cells if row["corruption"] == corruption.name]
        assert (np.diff(np.array(changes)[np.argsort(severities)]) > 0).all(), corruption.name

    clean = evaluate(templates(), data, out=tmp_path / "b", resamples=200)
    for figure in ("accuracy", "auc"):
        assert report["clean"][figure]["value"] == clean[figure]["value"]
    assert report["clean"]["balanced_error"]["value"] == 1 - clean["balanced_accuracy"]["value"]
    assert report["clean"]["flip_rate"]["value"] == 0
    assert clean["accuracy"]["value"] > 0.9


def test_f078_the_same_seed_gives_the_same_numbers_whatever_the_batch(tmp_path):
    data, _ = scenes(20)
    options = {"corruptions": ["noise", "rotation", "bubble"], "resamples": 100}
    first = sweep(templates(), data, out=tmp_path / "a", **options)
    again = sweep(templates(), data, out=tmp_path / "b", batch_size=7, **options)
    other = sweep(templates(), data, out=tmp_path / "c", seed=1, **options)
    assert [again[key] for key in ("clean", "cells", "corruptions")] == [
        first[key] for key in ("clean", "cells", "corruptions")
    ]
    assert [row["mean_change"] for row in other["cells"]] != [row["mean_change"] for row in first["cells"]]


def test_the_files_say_the_same(tmp_path):
    data, _ = scenes(12, channels=3)
    report = sweep(templates(channels=3), data, out=tmp_path, corruptions=["rotation", "motion_blur"], resamples=50)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    stored = json.loads((tmp_path / "robustness.json").read_text())
    assert stored == json.loads(json.dumps(report))
    rows = list(csv.DictReader((tmp_path / "robustness.csv").open()))
    assert len(rows) == 10
    for row, cell in zip(rows, report["cells"], strict=True):
        assert (row["corruption"], row["severity"]) == (cell["corruption"], str(cell["severity"]))
        for figure in FIGURES:
            for column, key in ((figure, "value"), (f"{figure}_low", "low"), (f"{figure}_high", "high")):
                assert row[column] == ("" if cell[figure][key] is None else repr(cell[figure][key]))
    levels = {row["severity"]: row["level"] for row in rows if row["corruption"] == "motion_blur"}
    assert levels["1"] == "5 5"
    with Image.open(tmp_path / "robustness.png") as picture:
        assert picture.width > 500


def test_every_figure_is_that_of_its_images(tmp_path):
    """One cell worked out without the sweep."""
    data, images = scenes(20, channels=3)
    classifier = templates(channels=3)
    report = sweep(classifier, data, out=tmp_path, corruptions=["rotation"], resamples=0, seed=7)
    row = CORRUPTIONS["rotation"]
    clean, turned = (
        classifier.probabilities(
            np.stack(
                [
                    classifier.bundle.preprocessing.pixels(row(images.read(k), severity, row.generator(7, k)))
                    for k in range(20)
                ]
            )
        )
        for severity in (0, 5)
    )
    decided = np.where(turned[:, 1] >= 0.5, 1, 0)
    (cell,) = (cell for cell in report["cells"] if cell["severity"] == 5)
    assert cell["accuracy"]["value"] == accuracy(decided, images.targets)
    assert cell["balanced_error"]["value"] == pytest.approx(1 - balanced_accuracy(decided, images.targets), abs=1e-12)
    assert cell["flip_rate"]["value"] == np.mean(decided != np.where(clean[:, 1] >= 0.5, 1, 0))
    assert cell["level"] == 45


def test_images_are_read_once_and_scored_in_batches(tmp_path):
    data, images = scenes(10)
    reads = []

    class Counted(ImageSet):
        def read(self, index, *arguments, **options):
            reads.append(index)
            return super().read(index, *arguments, **options)

    counted = Counted(images.names, images.targets, array=images.array)
    moved = []
    classifier = templates()
    sweep(
        classifier,
        replace(data, splits={"test": lambda: counted}),
        out=tmp_path,
        batch_size=4,
        resamples=0,
        progress=lambda done, total: moved.append((done, total)),
    )
    assert sorted(reads) == list(range(10))
    assert set(classifier.batches) == {4, 2}
    assert moved[-1] == (10 * 36, 10 * 36)
    assert [done for done, _ in moved] == sorted(done for done, _ in moved)


def test_a_limit_takes_each_class_in_proportion():
    targets = np.array([0] * 60 + [1] * 30 + [2] * 10)
    rows = spread(targets, 20)
    assert len(rows) == len(set(rows)) == 20
    assert rows == sorted(rows)
    assert np.bincount(targets[rows]).tolist() == [12, 6, 2]
    assert spread(targets, 100) == spread(targets, None) == list(range(100))
    assert len(spread(np.zeros((9, 3), int), 4)) == 4


def test_a_limited_sweep_draws_as_the_whole_one(tmp_path):
    data, _ = scenes(20)
    report = sweep(templates(), data, out=tmp_path, corruptions=["noise"], limit=6, resamples=0)
    assert (report["n"], report["data"]["images"]) == (6, 20)


def test_be_of_a_model_against_itself_is_one(tmp_path):
    data, _ = scenes(20)
    report = sweep(
        templates(), data, out=tmp_path, corruptions=["paper", "contrast_down"], baseline=templates(), resamples=100
    )
    known = [row["be"] for row in report["corruptions"] if row["be"] and row["be"]["value"] is not None]
    assert known
    assert all(figure["value"] == 1 for figure in known)
    assert report["baseline"]["be"]["value"] == 1
    assert report["baseline"]["rbe"]["value"] == 1
    assert all(row["rbe"]["value"] in (1, None) for row in report["corruptions"] if row["rbe"])
    assert all(row["baseline_balanced_error"] == row["balanced_error"] for row in report["cells"])
    unknown = [row["name"] for row in report["corruptions"] if row["applies"] and row["be"]["value"] is None]
    assert bool(unknown) == any(note.startswith("No BE for") for note in report["notes"])


def test_be_and_rbe_by_hand():
    # two corruptions of two severities: clean, then (1, 1), (1, 2), (2, 1), (2, 2)
    model = np.array([0.10, 0.20, 0.40, 0.10, 0.12])
    baseline = np.array([0.20, 0.40, 0.50, 0.20, 0.204])
    found = relative_errors(model, baseline, (2, 2))
    assert found["be"] == pytest.approx([0.30 / 0.45, 0.11 / 0.202])
    assert found["rbe"][0] == pytest.approx(0.20 / 0.25)
    assert np.isnan(found["rbe"][1])  # the baseline rises by 0.002
    assert found["mean be"] == pytest.approx([(0.30 / 0.45 + 0.11 / 0.202) / 2])
    assert found["mean rbe"] == pytest.approx([0.8])
    falling = relative_errors(model, np.array([0.3, 0.1, 0.1, 0.0, 0.0]), (2, 2))
    assert np.isnan(falling["rbe"]).all()
    assert np.isnan(falling["mean rbe"]).all()
    assert np.isnan(falling["be"][1])
    assert falling["be"][0] == pytest.approx(3)


def test_intervals_hold_their_values_and_pairs_of_patients(tmp_path):
    groups = tuple(f"p{k // 4}" for k in range(20))
    data, _ = scenes(20, groups=groups)
    report = sweep(templates(), data, out=tmp_path, corruptions=["noise", "blur"], resamples=300)
    assert "patients drawn" in report["intervals"]
    figures = [row[figure] for row in report["cells"] for figure in FIGURES]
    assert any(figure["low"] is not None for figure in figures)
    assert all(figure["low"] <= figure["high"] for figure in figures if figure["low"] is not None)


def test_a_multi_label_model(tmp_path):
    data, _ = scenes(20, task=Task.MULTILABEL)
    classifier = templates(task=Task.MULTILABEL)
    report = sweep(classifier, data, out=tmp_path, corruptions=["translation"], resamples=50)
    clean = evaluate(templates(task=Task.MULTILABEL), data, out=tmp_path / "b", resamples=0)
    for figure in ("accuracy", "auc"):
        assert report["clean"][figure]["value"] == clean[figure]["value"]
    assert report["cells"][0]["flip_rate"]["value"] > 0


@pytest.mark.parametrize("n", [1, 2])
def test_one_image_or_one_class_gives_null_and_never_nan(tmp_path, n):
    data, images = scenes(2 * n)
    alone = images.take(np.arange(0, 2 * n, 2))
    data = replace(data, splits={"test": lambda: alone})
    report = sweep(templates(), data, out=tmp_path, baseline=templates(), resamples=20)
    text = json.dumps(report, allow_nan=False)
    assert '"auc": {"value": null' in text
    assert report["clean"]["accuracy"]["value"] == 1


def test_images_that_are_stored_as_rgb_and_have_no_colour_are_grey(tmp_path):
    data, images = scenes(6)
    array = np.repeat(images.array[..., None], 3, axis=-1)
    array[0, :, :, 0] = 0  # one has colour
    some = ImageSet(images.names, images.targets, array=array)
    data = replace(data, splits={"test": lambda: some})
    report = sweep(templates(channels=3), data, out=tmp_path, corruptions=["colour_temperature"], resamples=0)
    assert report["notes"] == ["5 of 6 images are grey and stay clean under colour_temperature."]
    assert len(report["cells"]) == 5
    none = sweep(templates(channels=1), data, out=tmp_path, corruptions=["colour_temperature", "blur"], resamples=0)
    assert not none["corruptions"][0]["applies"]


def test_only_what_does_not_apply_is_refused(tmp_path):
    data, _ = scenes(6)
    with pytest.raises(InputError, match="none of the corruptions applies to grey images"):
        sweep(templates(), data, out=tmp_path / "a", corruptions=["saturate"], resamples=0)
    assert not (tmp_path / "a").exists()


def test_large_pictures_are_shrunk_first_and_clean_answers_are_not_touched(tmp_path):
    data, images = scenes(8, size=600)
    options = {"side": 256, "seed": 0, "batch_size": 8, "progress": lambda done: None}
    answers = score_corrupted(templates(), images, range(8), chosen(["noise"]), **options)
    assert np.array_equal(answers.clean, templates().scores(images))
    assert answers.large.all()
    assert not np.array_equal(answers.shrunk, answers.clean)
    assert np.allclose(answers.shrunk, answers.clean, atol=0.01)
    report = sweep(templates(), data, out=tmp_path, corruptions=["noise"], resamples=0)
    assert report["shrunk"] == {"images": 8, "flips": 0}
    assert any(note.startswith("8 of 8 images were shrunk") for note in report["notes"])


def test_a_corruption_without_effect_is_told(tmp_path):
    data, _ = scenes(6, size=16)
    report = sweep(templates(), data, out=tmp_path, corruptions=["blur"], resamples=0)
    assert any("changed no pixel" in note and "blur 1" in note for note in report["notes"])


def mean_errors(report):
    """Balanced error over all corruptions, clean and at each severity."""
    cells = report["cells"]
    means = [np.mean([c["balanced_error"]["value"] for c in cells if c["severity"] == s]) for s in SEVERITIES]
    return np.array([report["clean"]["balanced_error"]["value"], *means])


def test_error_does_not_fall_with_severity_on_average(tmp_path):
    data, _ = scenes(60)
    errors = mean_errors(sweep(templates(), data, out=tmp_path, corruptions=["all"], resamples=0))
    assert (np.diff(errors) >= 0).all(), errors
    assert errors[-1] > errors[0] + 0.02


@pytest.mark.slow
def test_error_of_a_trained_network_does_not_fall_with_severity_on_average(tmp_path):
    from medmamba.predictor import load
    from medmamba.training import TrainConfig, fit

    splits = {"train": (200, 360), "val": (360, 400), "test": (0, 60)}
    data = replace(scenes(2)[0], splits={name: partial(part, *bounds) for name, bounds in splits.items()})
    config = TrainConfig(model="medmamba_nano", recipe="quick", image_size=(32, 32), channels=1, epochs=6)
    run = fit(data, out=tmp_path / "run", config=config)
    report = sweep(load(run), data, out=tmp_path / "sweep", corruptions=["all"], resamples=0)
    assert report["clean"]["accuracy"]["value"] > 0.9
    errors = mean_errors(report)
    assert (np.diff(errors) >= 0).all(), errors
    assert errors[-1] > errors[0] + 0.02


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"corruptions": ["rotatoin"]}, "did you mean 'rotation'"),
        ({"corruptions": []}, "no corruption was named"),
        ({"limit": 0}, "a limit of 0 images leaves none"),
        ({"batch_size": 0}, "batch size 0 is none"),
        ({"resamples": -1}, "-1 resamples"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"split": "tset"}, "no split 'tset'"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(tmp_path, options, words):
    data, _ = scenes(4)
    with pytest.raises(InputError, match=words):
        sweep(templates(), data, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_baseline_of_other_classes_is_refused(tmp_path):
    data, _ = scenes(4)
    with pytest.raises(InputError, match="answer different questions"):
        sweep(templates(), data, out=tmp_path / "out", baseline=templates(classes=("a", "b")))


def test_answers_that_are_no_numbers_are_refused(tmp_path):
    data, _ = scenes(4)
    broken = templates(sharpness=np.nan)
    with pytest.raises(InputError, match="not finite"):
        sweep(broken, data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """An untrained nano of the phantoms' classes."""
    import torch

    from medmamba.data.phantoms import CLASSES as NAMES

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    bundle = Bundle("medmamba_nano", Task.BINARY, NAMES, Preprocessing(32, 32, 1))
    bundle.save(folder, bundle.build_model().state_dict())
    return folder


def test_the_command(bundle, tmp_path, capsys):
    words = ["robustness", str(bundle), "phantoms:28", "--corruptions", "rotation", "saturate", "--resamples", "20"]
    assert main([*words, "--out", str(tmp_path / "a"), "--baseline", str(bundle)]) == 0
    said = capsys.readouterr().out
    assert "phantoms, split test: 8 of 8 images" in said
    assert "rotation" in said
    assert "saturate: not applicable: the images are grey." in said
    assert "BE" in said
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == FILES
    assert main([*words, "--json", "--limit", "4"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 4
    assert (bundle / "robustness-test" / "robustness.json").is_file()


def test_the_command_says_what_is_wrong(bundle, capsys):
    assert main(["robustness", str(bundle), "phantoms:28", "--corruptions", "nois"]) == 2
    assert "there is no corruption 'nois'; did you mean 'noise'?" in capsys.readouterr().err
