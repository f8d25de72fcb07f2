"""Folders and tables as people have them, through whole commands."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medmamba.bundle import load_bundle
from medmamba.cli import main
from medmamba.data import open_data
from medmamba.training import fit, resume
from medmamba.training.plan import Request

TRAIN = ["--model", "test_resnet", "--recipe", "quick", "--epochs", "1", "--image-size", "32", "32", "--device", "cpu"]


def save(path: Path, shade: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, *path.parent.parent.name.encode()])  # another picture in another folder
    pixels = random.integers(0, 40, (12, 10)) + shade
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[dict[str, int]], Path]:
    """`folder({"train/a": 3})` -> a root with that many PNGs in each folder, each class with its own shade."""

    def make(counts: dict[str, int], name: str = "data") -> Path:
        for place, count in counts.items():
            (tmp_path / name / place).mkdir(parents=True)
            for row in range(count):
                save(tmp_path / name / place / f"{row}.png", 40 * (1 + sum(place.split("/")[-1].encode()) % 5), row)
        return tmp_path / name

    return make


@pytest.fixture
def crossed(tmp_path: Path) -> Path:
    """A table in which the patient p0 is in train and in test."""
    rows = ["file,label,split,patient"]
    for row in range(24):
        save(tmp_path / f"i/{row}.png", 30 + 100 * (row % 2), row)
        split = "test" if row < 4 else "val" if row < 10 else "train"
        rows.append(f"i/{row}.png,{'ab'[row % 2]},{split},{'p0' if row in (0, 20) else f'q{row}'}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    return tmp_path / "t.csv"


def test_a_patient_in_two_splits_stops_training_with_code_2_and_writes_nothing(
    crossed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = crossed.parent / "run"
    before = sorted(crossed.parent.rglob("*"))
    for allow in ([], ["--allow", "empty-class"]):
        assert main(["train", str(crossed), "--out", str(run), *TRAIN, *allow]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1 patient in more than one split: p0; " in captured.err
    assert "--allow patient-overlap goes on in spite of it" in captured.err
    assert sorted(crossed.parent.rglob("*")) == before


def test_allowing_it_by_name_goes_on_and_the_card_info_and_evaluation_say_so(
    crossed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = crossed.parent / "run"
    allow = ["--allow", "patient-overlap"]
    assert main(["train", str(crossed), "--out", str(run), *TRAIN, *allow]) == 0
    sentence = "patient-overlap: t.csv has 1 of 23 patients in more than one split"
    assert f"allowed: {sentence}" in capsys.readouterr().err
    assert load_bundle(run).provenance["data"]["allowed"] == [sentence]
    card = (run / "card.md").read_text()
    assert f"**Trained in spite of: {sentence}.**" in "\n".join(card.splitlines()[:8])
    assert "p0" not in card
    assert main(["info", "--checkpoint", str(run)]) == 0
    assert sentence in capsys.readouterr().out
    assert main(["evaluate", str(run), str(crossed), "--resamples", "0"]) == 2
    assert not (run / "evaluation-test").exists()
    assert main(["evaluate", str(run), str(crossed), "--resamples", "0", *allow]) == 0
    notes = json.loads((run / "evaluation-test/metrics.json").read_text())["notes"]
    assert notes[:2] == [f"the model was trained in spite of {sentence}", f"evaluated in spite of {sentence}"]
    assert f"the model was trained in spite of {sentence}" in capsys.readouterr().out


def test_what_was_allowed_and_the_label_columns_are_known_to_a_resumed_run(crossed: Path) -> None:
    run = fit(crossed, out=crossed.parent / "run", **short(), allow=["patient-overlap"])
    resume(run, progress=False)  # would be refused if it had forgotten
    assert "Trained in spite of: patient-overlap" in (run / "card.md").read_text()
    request = Request("x", None, None, None, short()["config"], ("patient-overlap",), ("a", "b"))
    assert Request.from_dict(request.to_dict()) == request
    old = {name: value for name, value in request.to_dict().items() if name not in ("allow", "label_columns")}
    assert Request.from_dict(old).allow == ()


def short() -> dict[str, Any]:
    from medmamba.training import TrainConfig

    config = TrainConfig(
        model="test_resnet", recipe="quick", image_size=(32, 32), epochs=1, device="cpu", progress=False
    )
    return {"config": config}


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_fault_that_does_not_exist_is_refused_first(
    verb: str, crossed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = crossed.parent / "run"
    arguments = {"train": ["nowhere", "--out", str(run)], "evaluate": [str(run), "nowhere"]}[verb]
    if verb == "evaluate":
        assert main(["train", str(crossed), "--out", str(run), *TRAIN, "--allow", "patient-overlap"]) == 0
    assert main([verb, *arguments, "--allow", "patient-overlp"]) == 2
    assert "no fault 'patient-overlp' to allow; did you mean 'patient-overlap'" in capsys.readouterr().err


def test_f055_an_empty_class_is_an_output_if_it_is_allowed(
    folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder({"train/C": 0, "train/B": 10, "train/A": 10, "val/A": 2, "val/B": 2, "test/A": 2, "test/B": 2})
    run = tmp_path / "run"
    assert main(["train", str(data), "--out", str(run), *TRAIN]) == 2
    error = capsys.readouterr().err
    assert "data/train/C holds no images" in error
    assert "--allow empty-class" in error
    assert not run.exists()
    assert main(["train", str(data), "--out", str(run), *TRAIN, "--allow", "empty-class"]) == 0
    assert load_bundle(run).classes == ("A", "B", "C")
    assert "Trained in spite of: empty-class: the class folder data/train/C" in (run / "card.md").read_text()
    capsys.readouterr()
    assert main(["predict", str(run), str(data / "test"), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [list(answer["probabilities"]) for answer in answers] == [["A", "B", "C"]] * 4
    assert main(["evaluate", str(run), str(data), "--resamples", "0"]) == 0
    assert json.loads((run / "evaluation-test/metrics.json").read_text())["absent_classes"] == ["C"]


CLASSES = ("é tumeur", "良性")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images and a run under names in several scripts."""
    base = tmp_path_factory.mktemp("f064")
    root, run = base / "données 影像", base / "läufe" / "第一"
    for split, count in (("train", 8), ("val", 2), ("test", 2)):
        for shade, name in zip((20, 160), CLASSES, strict=True):
            for row in range(count):
                save(root / split / name / f"x-ray #1 ({row}).png", shade, row)
    assert main(["train", str(root), "--out", str(run), *TRAIN]) == 0
    return root, run


def test_f064_names_in_any_script_from_images_to_figures(named: tuple[Path, Path]) -> None:
    root, run = named
    assert main(["evaluate", str(run), str(root), "--resamples", "0"]) == 0
    rows = list(csv.DictReader((run / "evaluation-test/scores.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["file"] for row in rows} == {f"test/{name}/x-ray #1 ({row}).png" for name in CLASSES for row in (0, 1)}
    assert {row["label"] for row in rows} == set(CLASSES)
    assert all((run / "evaluation-test" / name).stat().st_size > 1000 for name in ("roc.png", "confusion_matrix.png"))
    assert "良性" in (run / "card.md").read_text(encoding="utf-8")


def test_f064_names_in_any_script_are_answered_on_any_terminal(named: tuple[Path, Path], tmp_path: Path) -> None:
    root, run = named
    out = tmp_path / "réponses.csv"
    assert main(["predict", str(run), str(root / "test"), "--out", str(out)]) == 0
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert {row["label"] for row in rows} <= set(CLASSES)
    assert rows[0]["file"] == str(root / "test" / CLASSES[0] / "x-ray #1 (0).png")
    command = [sys.executable, "-m", "medmamba", "predict", str(run), str(root / "test")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\\u826f" in done.stdout


@pytest.mark.slow
def test_f064_a_model_with_names_in_any_script_is_exported(named: tuple[Path, Path], tmp_path: Path) -> None:
    root, run = named
    for name in ("модель.onnx", "模型.pt2"):
        arguments = ["--format", name.rpartition(".")[2], "--out", str(tmp_path / name), "--data", str(root)]
        assert main(["export", str(run), *arguments]) == 0
    out = tmp_path / "réponses.csv"
    assert main(["predict", str(tmp_path / "модель.onnx"), str(root / "test"), "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8").splitlines()[0] == "file,label,é tumeur,良性,error"


def test_f065_every_kind_of_file_is_listed_trained_on_and_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a.JPG", "b.jpeg", "c.PNG", "d.TIF", "e.tiff", "f.bmp", "g.webp", "h.gif"]
    for shade, label in ((20, "x"), (160, "y")):
        for row, name in enumerate(names * 2):
            save(tmp_path / "data" / label / f"{row}{name}", shade, row)
    (tmp_path / "data/x/i.txt").write_text("notes")
    assert main(["train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *TRAIN]) == 0
    assert "skipped 1 file of other kinds than images: .txt (1)" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "data"), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert len({answer["file"] for answer in answers}) == len(answers) == 32
    assert all(answer["error"] is None for answer in answers)


def test_f069_a_class_of_one_image_trains_and_has_no_validation_auc(
    folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = folder({"a": 50, "b": 20, "c": 1}), tmp_path / "run"
    assert main(["train", str(data), "--out", str(run), *TRAIN]) == 0
    assert "class 'c' has only 1 image to cut, so none is in val or test" in capsys.readouterr().err
    assert load_bundle(run).provenance["data"]["counts"]["train"]["c"] == 1
    assert main(["evaluate", str(run), str(data), "--split", "val", "--resamples", "0", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["auc"]["value"] is None for row in report["per_class"]} == {
        "a": False,
        "b": False,
        "c": True,
    }


def test_f049_one_column_is_multi_class_and_several_are_multi_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    images = {
        f"{split}_images": rng.integers(0, 255, (60, 28, 28), dtype=np.uint8) for split in ("train", "val", "test")
    }
    single = {f"{split}_labels": (np.arange(60) % 3)[:, None].astype(np.uint8) for split in ("train", "val", "test")}
    several = {f"{split}_labels": rng.integers(0, 2, (60, 14), dtype=np.uint8) for split in ("train", "val", "test")}
    np.savez(tmp_path / "single.npz", **images, **single)
    np.savez(tmp_path / "several.npz", **images, **several)
    for name, task in (("single", "multi-class"), ("several", "multi-label")):
        run = tmp_path / name
        assert main(["train", f"{run}.npz", "--out", str(run), *TRAIN]) == 0
        assert load_bundle(run).task.value == task
    assert main(["evaluate", str(tmp_path / "several"), str(tmp_path / "several.npz"), "--resamples", "0"]) == 0
    report = json.loads((tmp_path / "several/evaluation-test/metrics.json").read_text())
    assert sum(row["auc"]["value"] is not None for row in report["per_class"]) == 14
    arguments = ["train", str(tmp_path / "several.npz"), "--out", str(tmp_path / "x"), "--task", "multi-class"]
    assert main([*arguments, *TRAIN]) == 2
    assert "14 labels an image, so its task is multi-label, not multi-class" in capsys.readouterr().err


def test_label_columns_train_and_are_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["image\tmass\teffusion"]
    for row in range(40):
        save(tmp_path / f"i/{row:03}.png", 40 * (1 + row % 3), row)
        rows.append(f"i\\{row:03}\t{row % 2}\t{int(row % 3 == 0)}")
    (tmp_path / "t.tsv").write_text("\n".join(rows))
    run, columns = tmp_path / "run", ["--label-columns", "effusion", "mass"]
    assert main(["train", str(tmp_path / "t.tsv"), "--out", str(run), *TRAIN, *columns]) == 0
    error = capsys.readouterr().err
    assert "column image of t.tsv is taken as file" in error
    assert "40 names of t.tsv are completed by an extension" in error
    assert load_bundle(run).classes == ("effusion", "mass")
    assert main(["evaluate", str(run), str(tmp_path / "t.tsv"), "--resamples", "0", *columns]) == 0
    report = json.loads((run / "evaluation-test/metrics.json").read_text())
    assert [row["name"] for row in report["per_class"]] == ["effusion", "mass"]


def test_files_that_a_table_names_in_vain_stop_the_run_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "i/0.png", 9)
    (tmp_path / "t.csv").write_text("file,label\ni/0.png,a\n" + "".join(f"i/no{row}.png,b\n" for row in range(7)))
    assert main(["train", str(tmp_path / "t.csv"), "--out", str(tmp_path / "run"), *TRAIN]) == 2
    error = capsys.readouterr().err
    assert "names 7 files that cannot be found: i/no0.png, i/no1.png, i/no2.png, i/no3.png, i/no4" in error
    assert not (tmp_path / "run").exists()


def test_split_writes_tables_that_train_takes(
    folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder({"a": 20, "b": 20})
    assert main(["split", str(data), "--out", str(tmp_path / "s.csv"), "--seed", "4"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "s.csv")]
    written, direct = open_data(tmp_path / "s.csv"), open_data(data, seed=4)
    assert [Path(name).name for name in written.split("test").names] == [
        Path(name).name for name in direct.split("test").names
    ]
    assert main(["split", str(data), "--out", str(tmp_path / "s.csv")]) == 2
    assert main(["split", str(data), "--out", str(tmp_path / "k.csv"), "--folds", "4"]) == 0
    tables = capsys.readouterr().out.split()
    assert tables == [str(tmp_path / f"k-fold{k}.csv") for k in range(1, 5)]
    assert sorted(name for table in tables for name in open_data(table).split("test").names) == sorted(
        f"data/{name}/{row}.png" for name in "ab" for row in range(20)
    )
    assert main(["train", tables[2], "--out", str(tmp_path / "run"), *TRAIN]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), tables[2], "--resamples", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 10


def test_terminal_codes_in_names_reach_no_terminal(
    folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder({"a\x1b[2J": 8, "b": 8})
    assert main(["train", str(data), "--out", str(tmp_path / "run"), *TRAIN]) == 2
    assert "control characters" in capsys.readouterr().err
    assert main(["train", str(folder({"a": 8, "b": 0, "b/\x1b[2J": 0}, "other")), "--out", "x\x1b[2J", *TRAIN]) == 2
    assert main(["predict", str(tmp_path / "no\x1b[2J"), "x"]) == 2
    captured = capsys.readouterr()
    assert "\x1b" not in captured.err + captured.out
    assert "\\x1b[2J" in captured.err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "table", "npz"])
def test_f070_training_with_workers_that_are_spawned(folder: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    """As on Windows; the images do not fit into memory, so that the workers read the files."""
    data = folder({"a": 20, "b": 20})
    if kind == "table":
        assert main(["split", str(data), "--out", str(tmp_path / "t.csv")]) == 0
        data = tmp_path / "t.csv"
    if kind == "npz":
        random = np.random.default_rng(0)
        splits = ("train", "val", "test")
        pixels = {f"{split}_images": random.integers(0, 255, (12, 28, 28), np.uint8) for split in splits}
        labels = {f"{split}_labels": (np.arange(12) % 2)[:, None].astype(np.uint8) for split in splits}
        np.savez(tmp_path / "t.npz", **pixels, **labels)
        data = tmp_path / "t.npz"
    script = tmp_path / "spawned.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    from medmamba.cli import main\n"
        "    from medmamba.training import loader\n"
        "    loader.MEMORY = 0\n"
        "    sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["train", str(data), "--out", str(tmp_path / "run"), "--workers", "2", *TRAIN]
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert load_bundle(tmp_path / "run").provenance["ended"] == "finished"
