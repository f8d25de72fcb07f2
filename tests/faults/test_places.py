"""A place that cannot be written to is refused before the work whose result it is to take."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medmamba import data
from medmamba.bundle import Bundle
from medmamba.cli import main
from medmamba.errors import FailedError, InputError
from medmamba.predictor.classifier import Classifier
from medmamba.tasks import Task
from medmamba.writing import make_folder, writable_folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    small = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}
    bundle = Bundle(
        "medmamba_nano", Task.BINARY, ("benign", "malignant"), data.Preprocessing(64, 64, channels=1), model_args=small
    )
    torch.manual_seed(0)
    bundle.save(tmp_path / "model", bundle.build_model().state_dict())
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "model"


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that may not be written to, for root too."""
    folder, allowed = tmp_path / "locked", os.access
    folder.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and allowed(path, mode))
    return folder


FOLDERS = ("evaluate", "report", "robustness", "explain", "embed", "check", "explain --check")


@pytest.mark.parametrize("verb", [*FOLDERS, "compare", "export", "predict", "benchmark"])
def test_a_locked_place_is_refused_before_the_work(
    verb: str, model: Path, locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def work(*_: object, **__: object) -> None:
        pytest.fail("it went to work")

    for name in ("scores", "gather", "predict"):
        monkeypatch.setattr(Classifier, name, work)
    monkeypatch.setattr("medmamba.explain.maps.HeatMapper.maps", work)
    out = ["--out", str(locked / ("inside" if verb in FOLDERS else "x.json"))]
    run, picture = str(model), str(tmp_path / "a.png")
    commands = {
        "check": ["check", "phantoms:60", *out],
        "compare": ["compare", run, run, "phantoms:60", *out],
        "explain": ["explain", run, picture, *out],
        "explain --check": ["explain", run, "--check", "phantoms:60", *out],
        "export": ["export", run, "--out", str(locked / "x.onnx")],
        "predict": ["predict", run, picture, "--out", str(locked / "x.csv")],
        "benchmark": ["benchmark", "--models", "medmamba_nano", *out],
    }
    assert main(commands.get(verb, [verb, run, "phantoms:60", *out])) == 2
    assert f"{locked} may not be written to" in capsys.readouterr().err
    assert not list(locked.iterdir())


def test_a_folder_is_writable_where_one_above_it_is(tmp_path: Path) -> None:
    assert writable_folder(tmp_path / "deep" / "new") == tmp_path / "deep" / "new"
    assert not (tmp_path / "deep").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; name a folder"):
        writable_folder(tmp_path / "file" / "new")


@pytest.mark.skipif(sys.platform == "win32", reason="other errors")
def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FailedError, match="could not be written"):
        make_folder(tmp_path / "file" / "new")
