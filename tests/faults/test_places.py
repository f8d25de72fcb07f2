"""A place that cannot be written to is refused before the work whose result it is to take."""

import json
import os
import shutil
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


TABLE = "file,label,split,patient\na.png,benign,train,7\n"
OTHERS = (TABLE, '[{"file": "a.png", "label": "benign"}]', "file,label,error\n", "[", "[" * 100_000)


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n\x00", *(line.encode() for line in OTHERS)],
    ids=["picture", "table", "other list", "other header", "no JSON", "deep JSON"],
)
def test_predict_replaces_no_file_that_it_did_not_write(
    content: bytes, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(Classifier, "predict", lambda *_, **__: pytest.fail("it went to work"))
    place = tmp_path / "mine"
    place.write_bytes(content)
    assert main(["predict", str(model), str(tmp_path / "a.png"), "--out", str(place)]) == 2
    said = f"{place} is there already and was not written by medmamba predict; name another file"
    assert said in capsys.readouterr().err
    assert place.read_bytes() == content


def test_a_forgotten_name_costs_no_picture_and_no_model(model: Path, tmp_path: Path) -> None:
    for name in ("b.png", "c.png"):
        shutil.copy(tmp_path / "a.png", tmp_path / name)
    before = (tmp_path / "a.png").read_bytes()
    shell = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png")]  # --out *.png
    assert main(["predict", str(model), str(tmp_path / "b.png"), "--out", shell[0]]) == 2
    assert (tmp_path / "a.png").read_bytes() == before
    described = (model / "bundle.json").read_text()
    for verb in (["predict", str(model), shell[1]], ["compare", str(model), str(model), "phantoms:60"]):
        assert main([*verb, "--out", str(model / "bundle.json")]) == 2
    assert (model / "bundle.json").read_text() == described


def test_predict_replaces_its_own_answers_of_either_kind(model: Path, tmp_path: Path) -> None:
    place, verb = tmp_path / "answers", ["predict", str(model), str(tmp_path / "a.png"), "--device", "cpu"]
    place.write_text("")
    for more in ([], [], ["--json"], ["--json"], []):
        assert main([*verb, "--out", str(place), *more]) == 0
    assert place.read_text().startswith("file,label,benign,malignant,error\n")
    place.write_text('file,label,a,"two\nlines",error,possible,refer\n')  # of a calibrated model of other classes
    assert main([*verb, "--out", str(place)]) == 0
    assert "benign" in place.read_text()
    assert main([*verb, "--out", str(tmp_path / "answers.json")]) == 0  # asked for by its name
    assert json.loads((tmp_path / "answers.json").read_text())[0]["label"] in ("benign", "malignant")


def test_compare_replaces_its_own_results_alone(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    verb = ["compare", str(model), str(model), "phantoms:60", "--resamples", "0", "--device", "cpu"]
    for _ in range(2):
        assert main([*verb, "--out", str(tmp_path / "c.json")]) == 0
    for content in ('{"model": "x"}', "[]", "\x89PNG"):
        (tmp_path / "mine").write_text(content)
        assert main([*verb, "--out", str(tmp_path / "mine")]) == 2
        assert "was not written by medmamba compare; name another file" in capsys.readouterr().err
        assert (tmp_path / "mine").read_text() == content


def test_reports_of_other_kinds_are_left_alone(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "check.json").write_text('{"findings": []}')
    picture = (tmp_path / "a.png").read_bytes()
    assert main(["benchmark", "--models", "medmamba_nano", "--out", str(tmp_path / "a.png")]) == 2
    assert "was not written by medmamba benchmark" in capsys.readouterr().err
    assert main(["explain", str(model), "--check", "phantoms:60", "--out", str(tmp_path)]) == 2
    assert "was not written by medmamba explain --check" in capsys.readouterr().err
    assert (tmp_path / "a.png").read_bytes() == picture
    assert json.loads((tmp_path / "check.json").read_text()) == {"findings": []}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two class folders."""
    generator = np.random.default_rng(0)
    for name in ("benign", "malignant"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = generator.integers(0, 255, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("place", ["run", "benign/run"])
@pytest.mark.parametrize("verb", ["train", "pretrain", *FOLDERS])
def test_results_do_not_go_into_the_data(
    verb: str, place: str, model: Path, photos: Path, capsys: pytest.CaptureFixture
) -> None:
    out, run, data_set = ["--out", str(photos / place)], str(model), str(photos)
    commands = {
        "train": ["train", data_set, *out],
        "pretrain": ["pretrain", "phantoms:60", data_set, *out],
        "check": ["check", data_set, *out],
        "explain": ["explain", run, data_set, *out],
        "explain --check": ["explain", run, "--check", data_set, *out],
    }
    before = sorted(photos.rglob("*"))
    assert main(commands.get(verb, [verb, run, data_set, "--split", "all", *out])) == 2
    said = (
        f"which lies in {photos}, where images are"
        if verb == "explain"
        else f"which lies in the data {photos}; name another"
    )
    assert said in capsys.readouterr().err
    assert sorted(photos.rglob("*")) == before


def test_a_place_behind_a_link_in_the_data_and_opened_data(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "class").mkdir(parents=True)
    shutil.copy(photos / "benign" / "0.png", tmp_path / "far" / "class")
    (photos / "third").symlink_to(tmp_path / "far" / "class")
    for given in (photos, data.open_data(photos)):
        with pytest.raises(InputError, match="lies in the data"):
            data.check_outside(tmp_path / "far" / "class" / "run", given)
        data.check_outside(tmp_path / "far" / "run", given)


def test_beside_given_splits_only_their_folders_are_searched(photos: Path, tmp_path: Path, model: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(photos, root / "train")
    shutil.copytree(photos, root / "test")
    before = data.open_data(root).fingerprint()
    data.check_outside(root / "runs" / "first", root)
    shutil.copytree(model, root / "runs" / "first")
    assert data.open_data(root).fingerprint() == before
    for place in ("train/benign/run", "test/run", "val", "Validation/run"):  # the last two would be a split
        with pytest.raises(InputError, match="lies in the data"):
            data.check_outside(root / place, root)


def test_beside_a_table_or_a_data_set_known_by_name_is_as_good_as_any(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{path.relative_to(photos).as_posix()},{path.parent.name}" for path in photos.glob("*/*.png")]
    (photos / "labels.csv").write_text("\n".join(["file,label", *rows]))
    for given in (photos, photos / "labels.csv", data.open_data(photos)):
        data.check_outside(photos / "run", given)
    (tmp_path / "phantoms").mkdir()
    monkeypatch.chdir(tmp_path)
    data.check_outside("phantoms/run", "phantoms")
    with pytest.raises(InputError, match="lies in the data"):
        data.check_outside("phantoms/run", "./phantoms")
