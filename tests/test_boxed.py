"""The model in the box: what it says of itself, what it answers, what it refuses, how large it is."""

import csv
import hashlib
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmamba import boxed
from medmamba.bundle import FILES, SCOPE, load_bundle
from medmamba.cli import main
from medmamba.data import open_data
from medmamba.predictor import load
from medmamba.predictor.classifier import UNLIKE

ROOT = Path(__file__).parents[1]
MEGABYTE = 1_000_000
RECORDED = boxed.path() / "report-test"


@pytest.fixture(scope="module")
def classifier():
    return load(boxed.path(), device="cpu")


@pytest.fixture(scope="module")
def films(data_folder):
    """The test images of PneumoniaMNIST."""
    path = data_folder / "medmnist" / "pneumoniamnist_reassembled.npz"
    return open_data(path, classes=load_bundle(boxed.path()).classes).split("test")


@pytest.fixture(scope="module")
def results():
    return json.loads((ROOT / "benchmarks" / "results" / "boxed.json").read_text())


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def save(pixels: np.ndarray, path: Path) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


def test_it_is_small():
    sizes = {path: path.stat().st_size for path in boxed.path().rglob("*") if path.is_file()}
    assert sizes[boxed.path() / "weights.safetensors"] <= 4 * MEGABYTE
    assert sizes[boxed.path() / SCOPE] <= MEGABYTE / 2
    assert sum(sizes.values()) <= 4.5 * MEGABYTE


def test_its_description_names_the_checksums_of_its_files():
    named = load_bundle(boxed.path()).files
    assert named == {name: hashlib.sha256((boxed.path() / name).read_bytes()).hexdigest() for name in FILES}


def test_it_says_what_it_is():
    bundle = load_bundle(boxed.path())
    card = (boxed.path() / "card.md").read_text()
    for text in (boxed.PURPOSE, boxed.CREDIT, "Research software, not a medical device"):
        assert text in card
    assert "CC BY 4.0" in (boxed.path().parent / "NOTICE.md").read_text()
    assert bundle.provenance["purpose"] == boxed.PURPOSE == "chest x-ray of a child, 28-pixel source, demonstration"
    assert bundle.model == "medmamba_nano"
    assert bundle.provenance["recipe"]["name"] == "strong"
    assert bundle.provenance["epochs"] == bundle.provenance["recipe"]["epochs"] == 20
    for commit in bundle.provenance["commits"].values():
        assert len(commit) == 40  # no change since, which would be said behind it
    assert bundle.decisions.scope == 0.025
    assert bundle.preprocessing.detail == 28
    text = "".join(path.read_text() for path in boxed.path().rglob("*") if path.suffix in (".json", ".md", ".html"))
    assert "/work" not in text
    assert "/tmp" not in text


def test_it_answers_as_recorded(classifier, films):
    with (RECORDED / "scores.csv").open(newline="", encoding="utf-8") as file:
        recorded = list(csv.DictReader(file))[:32]
    pixels = np.stack([classifier.bundle.preprocessing.pixels(films.read(row)) for row in range(32)])
    expected = [[float(row[name]) for name in classifier.classes] for row in recorded]
    assert classifier.probabilities(pixels) == pytest.approx(np.array(expected), abs=1e-4)
    right = classifier.probabilities(pixels)[:, classifier.bundle.positive] >= classifier.bundle.threshold
    assert (right == films.targets[:32]).mean() > 0.75


@pytest.mark.slow
def test_its_figures_are_those_of_the_results_file(classifier, films, results):
    scores, strange = classifier.gather(films, classifier.examined, 64, None)
    yes = scores[:, classifier.bundle.positive] >= classifier.bundle.threshold
    accuracy = (yes == (films.targets == classifier.bundle.positive)).mean()
    assert accuracy == pytest.approx(results["test"]["accuracy"]["value"], abs=2 / len(films))
    assert (strange > 1).mean() == pytest.approx(results["refused"]["value"], abs=2 / len(films))
    assert (strange > 1).mean() <= 0.05


def test_float16_changed_next_to_nothing(results):
    told = results["rounding"]
    assert told["images"] == 524
    assert told["largest_change_of_a_probability"] < 0.005
    assert told["answers_changed"] == 0


def test_it_refuses_what_is_no_film(classifier, tmp_path, benchmarks):
    made = benchmarks("out_of_scope").made()
    chosen = [*made["noise"][:5], *made["one grey level"][::20], *made["text"][:5]]
    files = [save(pixels, tmp_path / f"{number}.png") for number, pixels in enumerate(chosen)]
    answers = classifier.predict([*files, save(np.zeros((300, 200), np.uint8), tmp_path / "black.png")])
    assert [answer.refer for answer in answers] == [UNLIKE] * len(answers)


def test_it_takes_films_and_the_same_films_enlarged(classifier, films, tmp_path):
    small = [films.read(row) for row in range(20)]
    large = [np.asarray(Image.fromarray(film).resize((560, 560), Image.Resampling.BICUBIC)) for film in small]
    answers = [
        classifier.predict([save(film, tmp_path / f"{kind}{number}.png") for number, film in enumerate(each)])
        for kind, each in (("small", small), ("large", large))
    ]
    for each in answers:
        assert sum(answer.refer == UNLIKE for answer in each) <= 2
    changes = [abs(a.probabilities["normal"] - b.probabilities["normal"]) for a, b in zip(*answers, strict=True)]
    assert np.mean(changes) < 0.05


def test_the_aims_are_reached(results):
    assert results["changed"] is False
    assert results["refused"]["value"] <= 0.05
    assert results["foreign_together"]["value"] >= 0.9
    assert results["foreign_mean_of_sources"] >= 0.9
    assert {"BUSI, breast ultrasound", "noise", "text"} <= set(results["foreign"])


def test_the_page_shows_the_results(results, benchmarks):
    tables = benchmarks("box_results").TABLES
    page = (ROOT / "docs" / "reference" / "boxed-model.md").read_text()
    for table in tables.values():
        assert table(results) in page


def test_predict_without_a_model(films, tmp_path):
    picture = save(films.read(0), tmp_path / "film.png")
    command = [sys.executable, "-m", "medmamba", "predict", picture, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    assert answer["label"] in ("normal", "pneumonia")
    assert done.stderr.count("the model in the box answers") == 1
    assert boxed.PURPOSE in done.stderr


def test_a_folder_and_what_is_no_image_are_never_taken_for_images(tmp_path, capsys):
    picture = save(np.zeros((40, 40), np.uint8), tmp_path / "a.png")
    for model in (tmp_path, tmp_path / "absent", tmp_path / "absent.onnx"):
        assert main(["predict", str(model), picture]) == 2
        assert boxed.PURPOSE not in capsys.readouterr().err
    (tmp_path / "list.txt").write_text("a.png\n")
    for first in ("a.png", "list.txt", "*.png"):
        assert main(["predict", str(tmp_path / first)]) == 0
        captured = capsys.readouterr()
        assert boxed.PURPOSE in captured.err
        assert f"{picture}," in captured.out
