"""`medmamba verify`: each check passes on what a run wrote, and fails where that was changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from medmamba.bundle import Bundle, load_bundle
from medmamba.cli import main
from medmamba.data import open_data
from medmamba.data.phantoms import phantom
from medmamba.data.preprocessing import Preprocessing
from medmamba.decisions import Conformal, Decisions
from medmamba.ensembling import ensemble
from medmamba.errors import InputError
from medmamba.json_file import write_json
from medmamba.manifest import sealed
from medmamba.tasks import Task
from medmamba.training import fit, pretrain
from medmamba.training.checkpoint import load_checkpoint, save_checkpoint
from medmamba.verification import Outcome, verify
from medmamba.verification.folder import Run, check_files
from medmamba.verification.outcome import Row, make

OPTIONS: dict[str, Any] = {
    "model": "test_resnet",
    "recipe": "quick",
    "image_size": (32, 32),
    "epochs": 2,
    "batch_size": 8,
    "device": "cpu",
    "progress": False,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images without splits, so that the run writes a table of them."""
    folder = tmp_path_factory.mktemp("photos")
    for label, name in enumerate(("benign", "malignant")):
        (folder / name).mkdir()
        for number in range(15):
            Image.fromarray(phantom(2 * number + label)[0]).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(photos, out=tmp_path_factory.mktemp("runs") / "run", **OPTIONS)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def outcomes(folder: Path, *arguments: Any, **options: Any) -> dict[str, tuple[Outcome, str]]:
    return {check.name: (check.outcome, check.words) for check in verify(folder, *arguments, **options)}


def named(found: dict[str, tuple[Outcome, str]], outcome: Outcome) -> set[str]:
    return {name for name, (each, _) in found.items() if each is outcome}


def edit(folder: Path, change: Callable[[dict[str, Any]], object], file: str = "bundle.json") -> None:
    entries = json.loads((folder / file).read_text())
    change(entries)
    write_json(folder / file, sealed(entries))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_passes_every_check_that_is_possible(run: Path, photos: Path) -> None:
    found = outcomes(run, photos)
    assert named(found, Outcome.FAILED) == set()
    assert named(found, Outcome.IMPOSSIBLE) <= {"files", "resume.previous.ckpt"}
    assert {"splits", "resume.ckpt", "history", "data: fingerprint"} <= named(found, Outcome.PASSED)


def test_the_same_images_as_the_table_that_the_run_wrote(trained: Path) -> None:
    # where it lies, because its paths are relative
    found = outcomes(trained, trained / "splits.csv", allow=["outside-folder"])
    assert found["data: fingerprint"][0] is Outcome.PASSED
    assert "by other paths" in found["data: fingerprint"][1]


def with_weights(run: Path, tensors: dict[str, torch.Tensor]) -> None:
    """As one would who changes weights and knows of the digest."""
    save_file(tensors, run / "weights.safetensors")
    edit(run, lambda entries: entries["files"].update({"weights.safetensors": digest(run / "weights.safetensors")}))


def break_tensor(run: Path) -> None:
    tensors = load_file(run / "weights.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    with_weights(run, tensors)


def rename_tensor(run: Path) -> None:
    tensors = load_file(run / "weights.safetensors")
    name = next(iter(tensors))
    tensors[f"{name}x"] = tensors.pop(name)
    with_weights(run, tensors)


def whole_numbers(run: Path) -> None:
    tensors = load_file(run / "weights.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name] = tensors[name].to(torch.int32)
    with_weights(run, tensors)


def other_words(run: Path) -> None:
    text = (run / "card.md").read_text()
    (run / "card.md").write_text(text.replace("| validation AUC |", "| validation AUC | 0.99 |"))


def one_more_epoch(run: Path) -> None:
    with (run / "history.csv").open("a") as file:
        file.write("3,0.001,24,0.5,0.4,1.0,True\n")


def better_history(run: Path) -> None:
    edit(run, lambda entries: entries["provenance"]["validation"].update(loss=0.01))


def moved_split(run: Path) -> None:
    text = (run / "splits.csv").read_text()
    (run / "splits.csv").write_text(text.replace(",test", ",train", 1))


def cut_resume(run: Path) -> None:
    content = (run / "resume.ckpt").read_bytes()
    (run / "resume.ckpt").write_bytes(content[: len(content) // 2])


def resume_of_another_run(run: Path) -> None:
    state = load_checkpoint(run)
    state["provenance"]["seed"] = 7
    save_checkpoint(run, state)


def resume_on_other_data(run: Path) -> None:
    state = load_checkpoint(run)
    state["identity"]["fingerprint of the data"] = "0" * 64
    save_checkpoint(run, state)


def resume_with_another_history(run: Path) -> None:
    state = load_checkpoint(run)
    state["history"][0]["val_loss"] += 0.5
    save_checkpoint(run, state)


def fewer_quantiles(run: Path) -> None:
    bundle = load_bundle(run)
    sets = Conformal(error=0.1, quantiles=(0.9,), by_class=True)
    replace(bundle, decisions=Decisions(conformal=sets)).save_description(run)


def lost_scope(run: Path) -> None:
    replace(load_bundle(run), decisions=Decisions(scope=0.05)).save_description(run, scope=b"none")
    (run / "scope.safetensors").unlink()


def cut_short(run: Path) -> None:
    (run / ".weights.safetensors.a1b2c3d4").write_bytes(b"half")


def cut_after_the_commit(run: Path) -> None:
    shutil.copy(run / "weights.safetensors", run / "weights.safetensors.new")


def unreadable(run: Path) -> None:
    (run / "bundle.json").write_text("{")


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (unreadable, "description", "cannot be used"),
        (break_tensor, "tensors", "not finite"),
        (rename_tensor, "tensors", "1 missing"),
        (whole_numbers, "tensors", "torch.int32"),
        (fewer_quantiles, "decisions", "1 quantiles for 2 classes"),
        (lost_scope, "decisions", r"has no scope\.safetensors"),
        (other_words, "card", "0.99"),
        (one_more_epoch, "history", "has 3 epochs, the description 2"),
        (better_history, "history", "0.01"),
        (moved_split, "splits", "is not the table that the run wrote"),
        (cut_resume, "resume.ckpt", "is damaged"),
        (resume_of_another_run, "resume.ckpt", "its seed is 7, that of the model 0"),
        (resume_on_other_data, "resume.ckpt", "on other data"),
        (resume_with_another_history, "resume.ckpt", "different epochs 1"),
        (cut_short, "leftovers", r"\.weights\.safetensors\.a1b2c3d4"),
        (cut_after_the_commit, "leftovers", r"weights\.safetensors\.new"),
    ],
)
def test_what_was_changed_fails_the_check_for_it(
    run: Path, change: Callable[[Path], None], check: str, words: str
) -> None:
    change(run)
    found = outcomes(run)
    assert check in named(found, Outcome.FAILED)
    with pytest.raises(InputError, match=words):
        raise InputError(found[check][1])
    # nothing is blamed twice: what rests on the broken part is not possible (a card tells of the figures, too)
    assert named(found, Outcome.FAILED) - {"files", "card"} <= {check}


def with_digests(run: Path) -> None:
    """With one digest alone."""
    edit(run, lambda entries: entries.update(files={"weights.safetensors": digest(run / "weights.safetensors")}))


def files_check(run: Path) -> tuple[Outcome, str]:
    looked = Run(run)
    looked.description = Bundle("test_resnet", Task.BINARY, ("benign", "malignant"), Preprocessing(32, 32))
    (check,) = make((Row("files", check_files),), looked)
    return check.outcome, check.words


def test_digests_of_the_files(run: Path) -> None:
    with_digests(run)
    assert files_check(run)[0] is Outcome.PASSED
    content = bytearray((run / "weights.safetensors").read_bytes())
    content[-100] ^= 1
    (run / "weights.safetensors").write_bytes(content)
    outcome, words = files_check(run)
    assert outcome is Outcome.FAILED
    assert "weights.safetensors is damaged: its bytes are not those that were written" in words
    (run / "weights.safetensors").unlink()
    assert "has no weights.safetensors" in files_check(run)[1]


def test_a_file_that_was_not_renamed_yet_counts(run: Path) -> None:
    with_digests(run)
    shutil.move(run / "weights.safetensors", run / "weights.safetensors.new")
    (run / "weights.safetensors").write_bytes(b"the one before")
    assert files_check(run)[0] is Outcome.PASSED


@pytest.mark.parametrize("name", ["../weights.safetensors", "/etc/hostname", "sub/x"])
def test_a_description_that_names_a_file_elsewhere_fails(run: Path, name: str) -> None:
    with_digests(run)
    edit(run, lambda entries: entries["files"].update({name: "0" * 64}))
    outcome, words = files_check(run)
    assert outcome is Outcome.FAILED
    assert "no file of the folder" in words


def test_a_run_that_goes_on_may_be_ahead_of_its_description(run: Path) -> None:
    def unfinished(entries: dict[str, Any]) -> None:
        entries["provenance"].update(ended="not finished", epochs=entries["provenance"]["best_epoch"])

    edit(run, unfinished)
    assert outcomes(run)["history"][0] is Outcome.PASSED
    lines = (run / "history.csv").read_text().splitlines()
    best = load_bundle(run).provenance["best_epoch"]
    (run / "history.csv").write_text("\n".join(lines[:best]) + "\n")  # killed before the row of the best was written
    outcome, words = outcomes(run)["history"]
    assert outcome is Outcome.PASSED
    assert f"lacks epoch {best}" in words


def test_a_run_without_a_finished_epoch_has_no_model_yet(run: Path) -> None:
    for path in run.iterdir():
        if path.name != "resume.ckpt":
            path.unlink()
    found = outcomes(run)
    assert named(found, Outcome.FAILED) == set()
    assert found["description"][1].endswith("resume the run")
    assert found["resume.ckpt"][0] is Outcome.PASSED


def test_other_versions_are_told_and_no_failure(run: Path) -> None:
    edit(run, lambda entries: entries["provenance"]["versions"].update(numpy="1.2.3"))
    outcome, words = outcomes(run)["versions"]
    assert outcome is Outcome.IMPOSSIBLE
    assert words.startswith(f"numpy 1.2.3, here {np.__version__}")


def test_another_cut_of_arrays_that_are_sorted_by_class_fails(tmp_path: Path) -> None:
    """It has the names, labels and fingerprint of the data of the run, and other images."""
    arrays: dict[str, np.ndarray] = {}
    for start, (split, count) in zip((0, 16, 24), (("train", 16), ("val", 8), ("test", 8)), strict=True):
        labels = np.arange(count) // (count // 2)
        arrays[f"{split}_images"] = np.stack([phantom(start + row)[0] for row in range(count)])
        arrays[f"{split}_labels"] = labels[:, None].astype(np.uint8)
    np.savez(tmp_path / "first.npz", **arrays)
    np.savez(tmp_path / "second.npz", **{**arrays, "train_images": arrays["train_images"][::-1]})
    run = fit(tmp_path / "first.npz", out=tmp_path / "run", **{**OPTIONS, "epochs": 1})
    assert outcomes(run, tmp_path / "first.npz")["data: fingerprint"][0] is Outcome.PASSED
    outcome, words = outcomes(run, tmp_path / "second.npz")["data: fingerprint"]
    assert outcome is Outcome.FAILED
    assert "in the same order, but other images" in words


def test_data_that_are_not_those_of_the_run_fail(run: Path, photos: Path, tmp_path: Path) -> None:
    other = shutil.copytree(photos, tmp_path / "other")
    shutil.move(other / "benign" / "0.png", other / "malignant" / "new.png")
    found = outcomes(run, other)
    assert named(found, Outcome.FAILED) == {"data: fingerprint", "data: counts"}
    (other / "benign").rename(other / "strange")
    found = outcomes(run, other)
    assert named(found, Outcome.FAILED) == {"data: classes"}
    assert "strange" in found["data: classes"][1]


def test_a_resume_file_with_code_in_it_is_not_run(run: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"format": 1, "history": Payload()}, run / "resume.ckpt")
    assert outcomes(run)["resume.ckpt"][0] is Outcome.FAILED
    assert not (tmp_path / "ran").exists()


def test_a_backbone_is_checked_as_far_as_it_goes(tmp_path: Path) -> None:
    opened = [replace(open_data(each), name=each.replace(":", "-")) for each in ("phantoms:40", "phantoms:44")]
    folder = pretrain(opened, out=tmp_path / "backbone", **{**OPTIONS, "epochs": 1})
    found = outcomes(folder)
    assert named(found, Outcome.FAILED) == set()
    assert {"description", "tensors", "network", "card", "history", "resume.ckpt"} <= named(found, Outcome.PASSED)
    assert found["decisions"] == (Outcome.IMPOSSIBLE, "a backbone decides nothing")


def test_an_ensemble_is_checked_as_far_as_it_goes(run: Path, tmp_path: Path) -> None:
    found = outcomes(ensemble([run], out=tmp_path / "both", mirror=True))
    assert named(found, Outcome.FAILED) == set()
    assert {"description", "tensors", "network", "decisions", "card", "versions"} <= named(found, Outcome.PASSED)
    assert "made from other models" in found["provenance"][1]


def test_the_model_in_the_box_is_whole() -> None:
    from medmamba import boxed

    found = outcomes(boxed.path())
    assert named(found, Outcome.FAILED) == set()
    assert {"description", "tensors", "network", "decisions", "card"} <= named(found, Outcome.PASSED)


def test_a_state_is_not_blamed_for_the_table_beside_it(run: Path) -> None:
    (run / "history.csv").write_bytes(b"\xff\xfe,\n1")
    found = outcomes(run)
    assert named(found, Outcome.FAILED) == {"history"}
    assert "history.csv does not, with which it is compared" in found["resume.ckpt"][1]


def test_an_exported_file_and_its_record(run: Path) -> None:
    pytest.importorskip("onnxruntime")
    from medmamba.export import export

    path, _ = export(run, images=2)
    found = outcomes(path)
    assert named(found, Outcome.FAILED) == set()
    assert {check.name for check in verify(path)} == named(found, Outcome.PASSED)
    older = json.loads((run / "bundle.json").read_text())
    write_json(run / "bundle.json", {name: older[name] for name in older if name != "sha256"} | {"format": 3})
    assert outcomes(path)["source"][0] is Outcome.PASSED
    edit(run, lambda entries: entries.update(threshold=0.9))  # as calibrate would
    outcome, words = outcomes(path)["source"]
    assert (outcome, "threshold" in words) == (Outcome.FAILED, True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert outcomes(path)["files"][0] is Outcome.FAILED
    with pytest.raises(InputError, match="give the folder of the run"):
        verify(path, "phantoms:60")


def test_the_command_line_and_its_exit_codes(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = {path.name: digest(path) for path in run.iterdir()}
    assert main(["verify", str(run)]) == 0
    assert "tensors" in capsys.readouterr().out
    assert {path.name: digest(path) for path in run.iterdir()} == before
    moved_split(run)
    assert main(["verify", str(run), "--json"]) == 1
    told = {check["name"]: check["outcome"] for check in json.loads(capsys.readouterr().out)}
    assert told["splits"] == "failed"
    assert main(["verify", str(tmp_path / "nowhere")]) == 2
    assert main(["verify", str(tmp_path)]) == 2
    assert "is no run" in capsys.readouterr().err
