"""The command line: what goes where, exit codes, one sentence for what a user can mend."""

import csv
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from medmamba.bundle import load_bundle, read_weights
from medmamba.cli import main
from medmamba.cli.console import parse_arguments, print_table
from medmamba.errors import InputError
from medmamba.models import create_model
from medmamba.models.official import to_published

TRAIN = [
    "--model",
    "medmamba_nano",
    "--recipe",
    "quick",
    "--epochs",
    "1",
    "--image-size",
    "32",
    "32",
    "--device",
    "cpu",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model that was trained for one epoch on phantoms."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "phantoms:60", "--out", str(folder), *TRAIN]) == 0
    return folder


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 30), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def test_train_prints_the_folder_and_logs_elsewhere(tmp_path, capsys):
    assert main(["train", "phantoms:60", "--out", str(tmp_path / "run"), *TRAIN]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(tmp_path / "run")
    assert "scan backend cpu" in captured.err
    assert "epoch 1/1" in captured.err
    record = json.loads((tmp_path / "run" / "bundle.json").read_text())["provenance"]
    assert record["command"].startswith("medmamba")


def test_evaluate_prints_figures_with_intervals_and_writes_the_rest(run, capsys):
    assert main(["evaluate", str(run), "phantoms:60"]) == 0
    out = capsys.readouterr().out
    assert "AUC" in out
    assert "majority baseline" in out
    assert " to " in out
    assert "malignant" in out
    folder = run / "evaluation-test"
    written = {"metrics.json", "curves.json", "scores.csv", "confusion_matrix.png", "roc.png", "reliability.png"}
    assert {path.name for path in folder.iterdir()} == written
    assert main(["evaluate", str(run), "phantoms:60", "--split", "val", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["split"] == "val"


def test_f058_predict_gives_a_row_an_image_and_codes_0_1_2(run, pictures, capsys):
    (pictures / "broken.png").write_bytes(b"not an image")
    good = [str(pictures / f"{i}.png") for i in range(5)]
    assert main(["predict", str(run), *good]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["file"] for row in rows] == good
    assert all(abs(float(row["benign"]) + float(row["malignant"]) - 1) < 1e-5 for row in rows)
    mixed = [good[3], str(pictures / "broken.png"), str(pictures / "absent.png"), good[0]]
    assert main(["predict", str(run), *mixed, "--batch-size", "2"]) == 1
    captured = capsys.readouterr()
    again = list(csv.DictReader(captured.out.splitlines()))
    assert [row["file"] for row in again] == mixed
    assert [bool(row["error"]) for row in again] == [False, True, True, False]
    assert float(again[0]["benign"]) == pytest.approx(float(rows[3]["benign"]), abs=2e-5)
    assert "2 of 4 images could not be read" in captured.err
    assert main(["predict", str(pictures), *good]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "is no trained model" in captured.err
    assert main(["predict", str(run)]) == 2


def test_f038_predict_takes_a_frame_and_a_limit(run, tmp_path, capsys):
    pages = [Image.fromarray(np.full((40, 30), 60 * k, np.uint8)) for k in range(1, 4)]
    path = tmp_path / "x.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert main(["predict", str(run), str(path), "--frame", "all"]) == 0
    captured = capsys.readouterr()
    names = [row["file"] for row in csv.DictReader(captured.out.splitlines())]
    assert names == [f"{path}#1", f"{path}#2", f"{path}#3", str(path)]
    assert f"{path} has 3 frames or pages: all are used" in captured.err
    assert main(["predict", str(run), str(path), "--max-pixels", "1000"]) == 1
    assert "30 x 40 pixels, more than 1000" in capsys.readouterr().out
    assert main(["predict", str(run), str(path), "--frame", "none"]) == 2


def test_f075_a_window_may_begin_with_a_minus(tmp_path, capsys):
    options = [*TRAIN, "--window", "-650,1500", "--frame", "middle", "--max-pixels", "1000000"]
    assert main(["train", "phantoms:60", "--out", str(tmp_path / "run"), *options]) == 0
    reading = json.loads((tmp_path / "run" / "bundle.json").read_text())["preprocessing"]["reading"]
    assert reading == {"window": "-650,1500", "frame": "middle", "max_pixels": 1_000_000}


def test_predict_writes_a_file_or_json(run, pictures, tmp_path, capsys):
    assert main(["predict", str(run), str(pictures), "--out", str(tmp_path / "answers.csv")]) == 0
    assert capsys.readouterr().out == ""
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 6
    assert main(["predict", str(run), str(pictures), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 5


@pytest.mark.parametrize(("rank", "seen"), [("0", ["as it goes", "look out"]), ("1", ["look out"])])
def test_of_several_processes_one_reports(monkeypatch, capsys, rank, seen):
    class Verb:
        def run(self):
            logger = logging.getLogger("medmamba.training.run")
            logger.info("as it goes")
            logger.warning("look out")
            return 0

    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr("medmamba.cli.parse", lambda arguments: Verb())
    assert main([]) == 0
    assert capsys.readouterr().err.splitlines() == seen


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "nowhere", "--out", "x"], "nowhere is no file, no folder and no data set's name"),
        (["train", "breastmnst", "--out", "x"], "did you mean 'breastmnist'?"),
        (["train", "phantoms", "--out", "x", "--model", "medmamba_tinny"], "did you mean 'medmamba_tiny'?"),
        (["train", "phantoms", "--out", "x", "--recipe", "smal"], "did you mean 'small'?"),
        (["train", "phantoms", "--out", "x", "--device", "cuda:7"], "'cuda:7' was asked for"),
        (["train", "phantoms", "--out", "x", "--image-size", "8", "8"], "both sides must be at least 16"),
        (["train", "phantoms", "--out", "x", "--positive", "cancer"], "'cancer' cannot be the positive class"),
        (["train", "phantoms", "--out", "x", "--model-args", "depth"], "'depth' is no model argument"),
        (["train", "phantoms", "--out", "x", "--lr", "inf"], "lr inf is not possible; expected a number from"),
        (["train", "phantoms", "--out", "x", "--lr", "nan"], "lr nan is not possible; expected a number from"),
        (["train", "phantoms", "--out", "x", "--model-args", "drop_path_rate=NaN"], "drop_path_rate is nan"),
        (["train", "phantoms", "--out", "x", "--model-args", "drop_path_rate=-1"], "drop_path_rate -1 is not possible"),
        (["train", "phantoms", "--out", "x", "--model-args", "drop_path_rate=1"], "drop_path_rate 1 is not possible"),
        (
            ["train", "phantoms", "--out", "x", "--model", "resnet10t", "--model-args", "drop_rate=1.5"],
            "drop_rate 1.5 is not possible; expected a number from 0 to 1",
        ),
        (["evaluate", "x", "phantoms"], "there is no folder x"),
        (["info", "--model", "resnet"], "there is no model 'resnet'"),
        (["info", "--checkpoint", "x"], "there is no folder x"),
        (["import", "x.pth", "--out", "y"], "there is no file x.pth"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_code_2(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEDMAMBA_DATA", raising=False)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.strip().splitlines()[-1]
    assert last.startswith("medmamba: ")
    assert sentence in last
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["phantoms", "--out", "x", "--epoch", "3"], "--epoch"),
        (["phantoms", "--out", "x", "--precision", "bf17"], "precision 'bf17' is unknown"),
    ],
)
def test_a_mistyped_option_is_code_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_f008_a_backend_that_is_not_there_is_refused_at_the_start(tmp_path):
    environment = {**os.environ, "MEDMAMBA_BACKEND": "mamba_ssm"}
    command = [sys.executable, "-m", "medmamba", "train", "phantoms:60", "--out", str(tmp_path / "run"), *TRAIN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no scan backend 'mamba_ssm'; choose one of cpu, cuda, triton, chunked, reference" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_an_output_that_takes_nothing_is_one_sentence(tmp_path):
    command = [sys.executable, "-m", "medmamba", "info"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "medmamba: reading or writing failed (No space left on device); look after the disk and try again"
    )
    done = subprocess.run(["bash", "-c", 'exec "$@" >&-', "-", *command], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")  # an output that was closed is wanted so
    reader, writer = os.pipe()
    os.close(reader)  # as `head` does when it has seen enough
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 1
    assert "Broken pipe" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_this_user_may_not_read_is_code_2(run, pictures, monkeypatch, capsys):
    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("medmamba.manifest.digest_of", deny)  # tests may run as root, who may read everything
    assert main(["predict", str(run), str(pictures), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"medmamba: reading or writing {run / 'weights.safetensors'} is not allowed for this user (Permission denied); "
        "mend the permissions"
    )


def test_an_error_of_the_system_that_is_none_of_a_disk_keeps_its_trace(run, pictures, monkeypatch):
    """A library that does not load, say; and what the caller prints afterwards is not lost."""

    def fail(path):
        raise OSError("libx.so: cannot open shared object file")

    monkeypatch.setattr("medmamba.manifest.digest_of", fail)
    with pytest.raises(OSError, match="cannot open shared object"):
        main(["predict", str(run), str(pictures)])


def test_a_name_that_no_file_can_have_is_code_2(run, capsys):
    assert main(["predict", str(run), "x" * 300]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_model_that_stands_among_the_images_is_named(run, pictures, capsys):
    for arguments in ([str(pictures / "0.png"), str(run)], [str(run), str(pictures), "other/model.onnx"]):
        assert main(["predict", *arguments]) == 2
        assert capsys.readouterr().err.endswith(
            f"medmamba: {arguments[-1]} is a trained model, and stands among the images; name one model, and it first\n"
        )


@pytest.mark.parametrize(
    ("ended", "code"), [("stopped by Ctrl-C", 1), ("stopped by SIGTERM", 1), ("finished after 3 epochs", 0)]
)
def test_a_run_that_was_stopped_is_not_taken_for_a_finished_one(run, tmp_path, monkeypatch, capsys, ended, code):
    """So that what a script does next is not done with half a training."""
    folder = tmp_path / "run"
    bundle = load_bundle(run)
    replace(bundle, provenance={**bundle.provenance, "ended": ended}).save(folder, read_weights(run))
    monkeypatch.setattr("medmamba.training.run.fit", lambda *_, **__: folder)
    assert main(["train", "phantoms:60", "--out", str(folder), *TRAIN]) == code
    assert capsys.readouterr().out == f"{folder}\n"


def test_a_demo_whose_training_was_stopped_ends_there(run, tmp_path, monkeypatch, capsys):
    def stopped(data, *, out, **_):
        bundle = load_bundle(run)
        origin = {**bundle.provenance, "ended": "stopped by Ctrl-C"}
        replace(bundle, provenance=origin).save(out, read_weights(run))

    monkeypatch.setattr("medmamba.training.run.fit", stopped)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 1
    assert capsys.readouterr().err.endswith(
        f"medmamba: the demo's training was stopped by Ctrl-C; remove {tmp_path / 'demo'} and begin again\n"
    )


BROKEN = {
    "import error": "raise ImportError('undefined symbol: _ZN3c10')",
    "os error": "raise OSError('libsvml.so: cannot open shared object file')",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_f002_a_broken_accelerator_stops_neither_import_nor_prediction(run, pictures, tmp_path, fault):
    package = tmp_path / "broken" / "numba"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(BROKEN[fault])
    environment = {**os.environ, "PYTHONPATH": f"{package.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "medmamba", "predict", str(run), str(pictures / "0.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the scan backend 'cpu' is not used") == 1
    assert BROKEN[fault].split("'")[1] in done.stderr


def test_f004_everything_works_where_triton_cannot_be_imported(run, pictures, tmp_path):
    """As on Windows."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['triton'] = None")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    for arguments in (
        ["train", "phantoms:60", "--out", str(tmp_path / "run"), *TRAIN],
        ["evaluate", str(tmp_path / "run"), "phantoms:60"],
        ["predict", str(tmp_path / "run"), str(pictures / "0.png")],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "medmamba", *arguments], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_f001_info_names_the_backend_and_why_the_others_are_not_used(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "scan backend  cpu" in out
    assert "only when asked for" in out
    assert "it runs on cuda, not on cpu" in out


def test_f028_info_lists_models_with_their_parameters(capsys):
    assert main(["info", "--models"]) == 0
    rows = capsys.readouterr().out.splitlines()
    tiny = next(row for row in rows if row.startswith("medmamba_tiny "))
    assert "14,457,222" in tiny
    assert "15,221,608" in tiny
    assert "14.5 / 15.2; 2.0" in tiny
    assert main(["info", "--data"]) == 0
    assert "breastmnist" in capsys.readouterr().out
    assert main(["info", "--model", "medmamba_nano", "--num-classes", "6", "--image-size", "32", "32"]) == 0
    assert "1,785,990" in capsys.readouterr().out


def test_f034_info_of_a_trained_model(run, capsys):
    assert main(["info", "--checkpoint", str(run)]) == 0
    out = capsys.readouterr().out
    for word in ("medmamba_nano", "phantoms", "benign, malignant", "fingerprint", "seed"):
        assert word in out


def test_import_of_a_published_checkpoint(tmp_path, pictures, capsys):
    torch.manual_seed(0)
    model = create_model("medmamba_nano", 3).eval()
    torch.save(to_published(model.state_dict()), tmp_path / "published.pth")
    out = tmp_path / "bundle"
    arguments = ["import", str(tmp_path / "published.pth"), "--out", str(out), "--image-size", "32", "32"]
    assert main([*arguments, "--classes", "a", "b"]) == 2
    assert "3 outputs and 2 classes were named" in capsys.readouterr().err
    assert main([*arguments, "--classes", "a", "b", "c"]) == 0
    assert "tensors loaded" in capsys.readouterr().out
    assert main(["predict", str(out), str(pictures / "0.png"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)[0]["probabilities"]
    pixels = np.asarray(Image.open(pictures / "0.png").resize((32, 32), Image.Resampling.BILINEAR))
    image = torch.tensor(pixels).float().div(255).sub(0.5).div(0.5).expand(1, 3, 32, 32)
    expected = model(image).softmax(1)[0].tolist()
    assert list(answer.values()) == pytest.approx(expected, abs=1e-5)
    other = tmp_path / "new-head"
    assert main([*arguments[:2], "--out", str(other), "--classes", "x", "y", "--new-head"]) == 0
    assert json.loads((other / "bundle.json").read_text())["classes"] == ["x", "y"]


def test_f057_numeric_folder_names_come_back_as_names(tmp_path, capsys):
    """Each flat colour predicts the name of its folder, whatever the order of the names."""
    colours = {"0": (230, 20, 20), "1": (20, 230, 20), "2": (20, 20, 230), "10": (230, 230, 230), "11": (20, 20, 20)}
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 3), ("test", 2)):
        for name, colour in colours.items():
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(colour + rng.normal(0, 3, (16, 16, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    arguments = ["--model", "resnet10t", "--recipe", "quick", "--epochs", "12", "--augment", "none", "--lr", "0.003"]
    run = tmp_path / "run"
    assert main(["train", str(tmp_path / "data"), "--out", str(run), *arguments, "--image-size", "32", "32"]) == 0
    assert json.loads((run / "bundle.json").read_text())["classes"] == ["0", "1", "10", "11", "2"]
    capsys.readouterr()
    assert main(["predict", str(run), *(str(tmp_path / "data" / "test" / name) for name in colours)]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["label"] for row in rows] == [name for name in colours for _ in range(2)]


def test_model_arguments_are_json_or_text():
    assert parse_arguments(["drop_path_rate=0.2", "depths=[1,1]", "block=sum"]) == {
        "drop_path_rate": 0.2,
        "depths": [1, 1],
        "block": "sum",
    }
    with pytest.raises(InputError, match="write name=value"):
        parse_arguments(["=3"])


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000], ids=["digits", "depth"])
def test_a_model_argument_that_python_does_not_read_is_refused(value):
    with pytest.raises(InputError, match=r"the model argument depths has .*; write it shorter"):
        parse_arguments([f"depths={value}"])


def test_tables_are_in_line(capsys):
    print_table([("name", "n"), ("benign", "5"), ("x", "1,200")])
    assert capsys.readouterr().out.splitlines() == ["name        n", "benign      5", "x       1,200"]


@pytest.mark.slow
def test_the_demo_reaches_its_figure(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    assert "Next: medmamba predict" in out
    report = json.loads((tmp_path / "demo" / "run" / "evaluation-test" / "metrics.json").read_text())
    assert report["auc"]["value"] >= 0.85
    assert report["auc"]["low"] is not None
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
