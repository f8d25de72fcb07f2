"""Training from a start and evaluating: a model is not tested on what it may have seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from noise import make_data
from PIL import Image

import medmamba
from medmamba.bundle import load_bundle
from medmamba.cli import main
from medmamba.errors import InputError
from medmamba.evaluation import evaluate

Fit = Callable[..., Path]


@pytest.fixture
def busi(short_fit: Fit) -> Path:
    return short_fit("busi run", make_data(name="busi256"), epochs=1)


def test_a_start_that_may_have_seen_the_test_images_is_refused_before_anything_is_written(
    busi: Path, short_fit: Fit, tmp_path: Path
) -> None:
    breast = make_data(name="breastmnist", train=26)
    with pytest.raises(InputError, match=r"breastmnist holds images of BUSI, and the start was trained on busi256"):
        short_fit("refused", breast, epochs=1, init=str(busi))
    assert not (tmp_path / "refused").exists()


def test_what_was_allowed_is_in_the_provenance_the_card_and_the_log(
    busi: Path, short_fit: Fit, caplog: pytest.LogCaptureFixture
) -> None:
    breast = make_data(name="breastmnist", train=26)
    run = short_fit("allowed", breast, epochs=1, init=str(busi), allow=["related-data"])
    about = load_bundle(run).provenance["data"]
    assert about["sources"] == ["BUSI"]
    assert [each["name"] for each in about["seen"]] == ["busi256", "breastmnist"]
    (sentence,) = about["allowed"]
    assert sentence.startswith("related-data: breastmnist holds images of BUSI")
    assert f"allowed: {sentence}" in caplog.text
    card = (run / "card.md").read_text()
    assert "| trained in spite of | related-data: breastmnist holds images of BUSI" in card
    assert "| images from | BUSI |" in card


def test_the_same_data_with_the_same_splits_is_a_fair_start(busi: Path, short_fit: Fit) -> None:
    run = short_fit("again", make_data(name="busi256"), epochs=1, init=str(busi))
    about = load_bundle(run).provenance["data"]
    assert about["allowed"] == []
    assert [each["name"] for each in about["seen"]] == ["busi256"]
    assert "rained in spite of" not in (run / "card.md").read_text()
    with pytest.raises(InputError, match="the start was trained on busi256 with other splits"):
        short_fit("cut otherwise", make_data(name="busi256", train=28), epochs=1, init=str(busi))


def test_resuming_asks_nothing_again(busi: Path, short_fit: Fit) -> None:
    breast = make_data(name="breastmnist", train=26)
    options = {"epochs": 1, "init": str(busi)}
    run = short_fit("resumed", breast, allow=["related-data"], **options)
    before = load_bundle(run).provenance["data"]
    short_fit("resumed", breast, resume=True, **options)
    assert load_bundle(run).provenance["data"] == before


def test_evaluation_refuses_related_data_and_notes_what_was_allowed(busi: Path, tmp_path: Path) -> None:
    classifier = medmamba.load(busi, device="cpu")
    breast = make_data(name="breastmnist", train=26)
    with pytest.raises(InputError, match="the model was trained on busi256, which does too"):
        evaluate(classifier, breast, "val", out=tmp_path / "no", resamples=0)
    assert not (tmp_path / "no").exists()
    report = evaluate(classifier, breast, "val", out=tmp_path / "yes", resamples=0, allow=("related-data",))
    assert report["notes"][0].startswith("evaluated in spite of related-data: breastmnist holds images of BUSI")
    assert json.loads((tmp_path / "yes/metrics.json").read_text())["notes"] == report["notes"]
    same = evaluate(classifier, make_data(name="busi256"), "val", out=tmp_path / "same", resamples=0)
    assert not any("related-data" in note for note in same["notes"])


def test_a_fault_that_does_not_exist_cannot_be_allowed(busi: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no fault 'related' to allow"):
        medmamba.fit(make_data(), out=tmp_path / "run", allow=["related"])
    classifier = medmamba.load(busi, device="cpu")
    with pytest.raises(InputError, match="no fault 'related' to allow"):
        evaluate(classifier, make_data(), out=tmp_path / "out", allow=["related"])


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a folder of BUSI's to another that is cut otherwise."""
    rng = np.random.default_rng(0)
    for name in ("busi", "busi_small"):
        for label in ("benign", "malignant"):
            (tmp_path / name / label).mkdir(parents=True)
            for i in range(12 if name == "busi" else 10):
                pixels = rng.integers(0, 255, (16, 16), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / label / f"{i}.png")
    common = ["--model", "test_resnet", "--recipe", "quick", "--epochs", "1", "--image-size", "32", "32"]
    common += ["--device", "cpu", "--batch-size", "8"]
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    other = str(tmp_path / "busi_small")
    assert main(["train", str(tmp_path / "busi"), "--out", first, *common]) == 0
    assert main(["train", other, "--out", second, "--init", first, *common]) == 2
    assert "--allow related-data goes on in spite of it" in capsys.readouterr().err
    assert not (tmp_path / "second").exists()
    by_table = ["evaluate", first, first + "/splits.csv", "--allow", "outside-folder"]
    assert main(by_table) == 0  # its own data, by the table that it wrote
    assert main(["evaluate", first, other, "--split", "all"]) == 2
    assert main(["evaluate", first, other, "--split", "all", "--allow", "related-data"]) == 0
    assert "related-data: busi_small holds images of BUSI" in capsys.readouterr().out
    assert main(["train", other, "--out", second, "--init", first, "--allow", "related-data", *common]) == 0
    assert main(["info", "--checkpoint", second]) == 0
    assert "trained in spite of" in capsys.readouterr().out
