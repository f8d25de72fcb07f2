"""`calibrate`: what it stores, that nothing else changes, and that what it promises holds."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from medmamba import bundle as bundles
from medmamba.bundle import Bundle, load_bundle
from medmamba.calibration import OperatingPoint, calibrate
from medmamba.calibration.choosing import choose
from medmamba.data import open_data
from medmamba.data.preprocessing import Preprocessing
from medmamba.data.related import lineage
from medmamba.decisions import Conformal, Decisions
from medmamba.errors import InputError
from medmamba.evaluation import evaluate
from medmamba.metrics.temperature import scale
from medmamba.network import build
from medmamba.predictor import load
from medmamba.predictor.classifier import UNDECIDED, UNLIKE
from medmamba.tasks import Task

DATA = "phantoms:200"


@pytest.fixture(scope="module")
def data():
    return open_data(DATA)


@pytest.fixture
def saved(tmp_path, data):
    """A bundle of a network that has learnt nothing, which says that it was trained on phantoms."""
    torch.manual_seed(0)
    provenance = {"seed": 0, "data": {"name": data.name, "fingerprint": data.fingerprint(), **lineage(data, ())}}
    bundle = Bundle("medmamba_nano", data.task, data.classes, Preprocessing(16, 16, channels=1), provenance=provenance)
    net = build("medmamba_nano", num_classes=len(data.classes), in_chans=1)
    torch.nn.init.normal_(net.head.fc.weight, std=0.5)  # answers that differ
    bundle.save(tmp_path / "run", net.state_dict())
    return tmp_path / "run"


def test_it_is_stored_and_the_weights_stay(saved, data):
    weights = (saved / bundles.WEIGHTS).read_bytes()
    scores = load(saved, device="cpu").scores(data.split("val"))
    fitted = calibrate(saved, data, device="cpu", error=0.2)
    assert (saved / bundles.WEIGHTS).read_bytes() == weights
    stored = load_bundle(saved)
    assert stored.decisions.fitted == json.loads(json.dumps(fitted))
    assert stored.decisions.temperature == fitted["temperature"] != 1
    assert fitted["after"]["nll"] <= fitted["before"]["nll"]
    assert fitted["n"] == len(data.split("val"))
    again = load(saved, device="cpu").scores(data.split("val"))
    np.testing.assert_allclose(again, scale(data.task, scores, fitted["temperature"]), atol=1e-6)
    assert np.array_equal(again.argmax(axis=1), scores.argmax(axis=1))


def test_it_can_be_done_again_and_starts_from_the_network(saved, data):
    first = calibrate(saved, data, device="cpu")
    second = calibrate(saved, data, device="cpu", point=None)
    assert {**first, "date": 0} == {**second, "date": 0}
    third = calibrate(saved, data, device="cpu", error=None, refused=None)
    assert (third["prediction_sets"], third["scope"]) == (None, None)
    answer = load(saved, device="cpu")
    assert answer.kind is None
    assert answer.bundle.decisions.conformal is None


def test_the_scope_lets_validation_images_pass_and_stops_others(saved, data, tmp_path):
    from PIL import Image

    fitted = calibrate(saved, data, device="cpu", refused=0.15)
    assert fitted["scope"] == {"refused": 0.15}
    classifier = load(saved, device="cpu")
    _, strange = classifier.gather(data.split("val"), classifier.examined, 64, None)
    assert 0 < (strange > 1).mean() <= 0.15
    generator = np.random.default_rng(0)
    others = {
        "noise": generator.integers(0, 256, (64, 64), dtype=np.uint8),
        "black": np.zeros((64, 64), np.uint8),
        "white": np.full((64, 64), 255, np.uint8),
        "stripes": np.tile(np.array([0, 255], np.uint8), (64, 32)),
    }
    for name, pixels in others.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    answers = classifier.predict([tmp_path / f"{name}.png" for name in others])
    assert [answer.refer for answer in answers] == [UNLIKE] * len(others)
    assert all(answer.label for answer in answers)  # it still says what it would have said


def test_evaluate_tells_what_became_of_the_promises(saved, data, tmp_path):
    before = evaluate(load(saved, device="cpu"), data, out=tmp_path / "before", resamples=50)
    assert (before["prediction_sets"], before["scope"]) == (None, None)
    assert before["calibration"]["before"] is None
    calibrate(saved, data, device="cpu", error=0.2)
    report = evaluate(load(saved, device="cpu"), data, out=tmp_path / "after", resamples=50)
    found = report["prediction_sets"]
    assert found["error"] == 0.2
    assert found["coverage"]["low"] <= found["coverage"]["value"] <= found["coverage"]["high"]
    assert [row["name"] for row in found["per_class"]] == list(data.classes)
    assert 0 <= report["scope"]["refused"]["value"] < 0.2
    # the network divides its logits in float32, the report multiplies them again
    nll = report["calibration"]["before"]["nll"]["value"]
    assert nll == pytest.approx(before["calibration"]["after"]["nll"]["value"], abs=1e-6)
    json.dumps(report, allow_nan=False)


def test_sets_and_reasons_come_with_every_answer(saved, data):
    stored = load_bundle(saved)
    wide = replace(stored, decisions=Decisions(conformal=Conformal(0.1, (1.0,) * len(stored.classes), False)))
    wide.save_description(saved)
    classifier = load(saved, device="cpu")
    pixels = np.zeros((2, 1, 16, 16), np.uint8)
    answers = classifier.predictions(["a", "b"], *classifier.examined(pixels))
    assert answers[0].possible == tuple(stored.classes)
    assert answers[0].refer == UNDECIDED
    narrow = replace(stored, decisions=Decisions(conformal=Conformal(0.1, (0.0,) * len(stored.classes), False)))
    narrow.save_description(saved)
    classifier = load(saved, device="cpu")
    answers = classifier.predictions(["a"], *classifier.examined(pixels[:1]))
    assert (answers[0].possible, answers[0].refer) == ((), UNDECIDED)


def test_what_is_not_possible_is_refused_and_changes_nothing(saved, data):
    before = (saved / bundles.DESCRIPTION).read_bytes()
    for arguments, words in (
        ({"split": "test"}, "judged on afterwards"),
        ({"split": "all"}, "judged on afterwards"),
        ({"split": "train"}, "what the model was fitted to"),
        ({"error": 1.5}, r"error 1\.5"),
        ({"refused": -1.0}, "refused -1"),
        ({"split": "nothing"}, "no split 'nothing'"),
    ):
        with pytest.raises(InputError, match=words):
            calibrate(saved, data, device="cpu", **arguments)
    with pytest.raises(InputError, match=r"sensitivity 1\.2"):
        OperatingPoint(sensitivity=1.2)
    with pytest.raises(InputError, match="several operating points"):
        OperatingPoint(sensitivity=0.9, youden=True)
    assert (saved / bundles.DESCRIPTION).read_bytes() == before
    assert not (saved / "scope.safetensors").exists()


def test_a_cut_other_than_that_of_the_training_is_refused(saved, tmp_path):
    for label in ("benign", "malignant"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for n in range(12):
            Image.fromarray(np.full((16, 16), n, np.uint8)).save(tmp_path / "photos" / label / f"{n}.png")
    photos = open_data(tmp_path / "photos")
    bundle = load_bundle(saved)
    origin = {"seed": 0, "data": {"name": photos.name, "fingerprint": photos.fingerprint(), **lineage(photos, ())}}
    replace(bundle, classes=photos.classes, provenance=origin).save_description(saved)
    photos.write_splits(tmp_path / "own.csv")
    head, *rows = (tmp_path / "own.csv").read_text().splitlines()
    swap = {"train": "test", "val": "train", "test": "val"}
    turned = [",".join((*row.split(",")[:2], swap[row.split(",")[2]])) for row in rows]
    (tmp_path / "other.csv").write_text("\n".join([",".join(head.split(",")[:3]), *turned]))
    with pytest.raises(InputError, match="other has the image names and labels of photos in other splits"):
        calibrate(saved, tmp_path / "other.csv", device="cpu")
    assert calibrate(saved, tmp_path / "own.csv", device="cpu", error=None)["data"] == "own"


def decided(task, scores, targets, point=None, error=None, groups=None):
    bundle = SimpleNamespace(task=task, classes=tuple("abc"[: scores.shape[1]]), positive=1)
    images = SimpleNamespace(targets=targets, groups=groups)
    return choose(bundle, scores, images, point or OperatingPoint(), error)


def test_an_operating_point_has_the_sensitivity_that_was_asked_for():
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, 300)
    p = 1 / (1 + np.exp(-(targets * 2 - 1 + 1.5 * generator.normal(size=300))))
    scores = np.column_stack([1 - p, p])
    found = decided(Task.BINARY, scores, targets, OperatingPoint(sensitivity=0.95))
    scaled = scale(Task.BINARY, scores, found.temperature)[:, 1]
    assert 0.95 <= (scaled >= found.threshold)[targets == 1].mean() < 0.96
    lower = decided(Task.BINARY, scores, targets, OperatingPoint(specificity=0.95))
    scaled = scale(Task.BINARY, scores, lower.temperature)[:, 1]
    assert (scaled < lower.threshold)[targets == 0].mean() >= 0.95
    assert decided(Task.BINARY, scores, targets).threshold == 0.5


def test_a_temperature_at_the_end_of_what_is_tried_is_said():
    generator = np.random.default_rng(0)
    p = generator.uniform(0, 1, 200)
    scores, right = np.column_stack([1 - p, p]), (generator.uniform(0, 1, 200) < p).astype(np.int64)
    assert decided(Task.BINARY, scores, right).notes == ()
    against = decided(Task.BINARY, scores, 1 - right)  # probabilities that point the wrong way
    assert against.temperature == 20
    assert "the temperature stands at 20, the highest that is tried" in against.notes[0]


def test_f050_each_label_has_a_threshold_of_its_own():
    """Two labels whose best thresholds are 0.3 and 0.7; a scalar of 0.5 is the plain result."""
    generator = np.random.default_rng(0)
    scores = generator.uniform(0, 1, (4000, 2))
    targets = (scores > [0.3, 0.7]).astype(np.int64)
    found = decided(Task.MULTILABEL, scores, targets, OperatingPoint(youden=True))
    unscaled = 1 / (1 + (1 / np.array(found.threshold) - 1) ** found.temperature)
    np.testing.assert_allclose(unscaled, [0.3, 0.7], atol=0.02)
    assert decided(Task.MULTILABEL, scores, targets).threshold == (0.5, 0.5)


def test_sets_of_each_class_where_there_are_images_enough():
    generator = np.random.default_rng(0)
    scores = generator.dirichlet([1, 1, 1], 90)
    targets = np.arange(90) % 3
    by_class = decided(Task.MULTICLASS, scores, targets, error=0.1)
    assert by_class.conformal.by_class
    assert len(set(by_class.conformal.quantiles)) == 3
    targets[:80] = 0  # ten of the others together
    together = decided(Task.MULTICLASS, scores, targets, error=0.1)
    assert not together.conformal.by_class
    assert len(set(together.conformal.quantiles)) == 1
    assert any("not for each" in note for note in together.notes)
    few = decided(Task.MULTICLASS, scores[:5], targets[:5], error=0.1)
    assert few.conformal is None
    assert any("5 images are too few" in note for note in few.notes)


def test_images_of_one_patient_weaken_the_promise_and_that_is_said():
    scores = np.random.default_rng(0).dirichlet([1, 1, 1], 60)
    told = decided(Task.MULTICLASS, scores, np.arange(60) % 3, error=0.1, groups=("p",) * 60)
    assert any("several images" in note for note in told.notes)
