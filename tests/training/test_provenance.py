import getpass
import hashlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from noise import SHORT, make_data, make_images
from PIL import Image

from medmamba.bundle import load_bundle
from medmamba.data.dataset import ImageSet
from medmamba.tasks import Task
from medmamba.text import markdown_cell
from medmamba.training import fit
from medmamba.training.checkpoint import load_checkpoint
from medmamba.training.provenance import (
    class_counts,
    describe_data,
    describe_machine,
    describe_splits,
    installed,
    log_data,
    versions,
)


def test_images_are_counted_by_class_and_labels_by_label() -> None:
    data = make_data(classes=3)
    assert class_counts(make_images(7, classes=3), data) == {"benign": 3, "malignant": 2, "normal": 2}
    several = ImageSet(("a", "b"), np.array([[1, 1, 0], [0, 1, 0]]), array=make_images(2).array)
    assert class_counts(several, make_data(classes=3, task=Task.MULTILABEL)) == {
        "benign": 1,
        "malignant": 2,
        "normal": 0,
    }


def test_notes_of_the_data_and_splits_made_here_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    data = make_data(notes=("2 columns are not used: age, sex",), made_splits=("val", "test"))
    splits = {name: data.split(name) for name in ("train", "val")}
    about = describe_data(data, splits, seed=5)
    log_data(about)
    assert "2 columns are not used" in caplog.text
    assert about["splits"] == "val, test made here, seed 5"
    assert about["fingerprint"] == data.fingerprint()


def test_what_decides_a_result_is_recorded_with_its_version() -> None:
    found = versions()
    assert list(found)[:2] == ["medmamba", "python"]
    assert {"torch", "torchvision", "safetensors", "numpy", "pillow"} <= found.keys()
    assert found["torch"] == metadata.version("torch")
    assert ("cuda" in found) == torch.cuda.is_available()
    assert installed("no-such-package-at-all") is None


def test_the_machine_is_told_by_its_class_and_not_by_its_name() -> None:
    found = describe_machine(torch.device("cpu"))
    assert set(found) == {"system", "processor", "instructions", "threads"}
    assert found["processor"] == platform.machine()
    assert found["threads"] == torch.get_num_threads()
    told = json.dumps(found)
    for private in (platform.node(), getpass.getuser(), os.getcwd()):
        assert private not in told


def test_cards_of_a_run_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card 9000")
    found = describe_machine(torch.device("cuda"), processes=2)
    assert (found["gpu"], found["gpus"]) == ("Card 9000", 2)


def test_the_table_of_splits_is_recorded_with_its_digest(tmp_path: Path) -> None:
    assert describe_splits(tmp_path) == {}
    (tmp_path / "splits.csv").write_bytes(b"file,label,split\n")
    digest = hashlib.sha256(b"file,label,split\n").hexdigest()
    assert describe_splits(tmp_path) == {"split_file": {"name": "splits.csv", "sha256": digest}}


def test_a_run_records_all_of_it_and_so_does_its_checkpoint(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for label in (0, 1):
        (photos / "ab"[label]).mkdir(parents=True)
        for number in range(12):
            picture = Image.fromarray(np.full((16, 16), 80 * label + 3 * number, np.uint8))
            picture.save(photos / "ab"[label] / f"{number}.png")
    run = fit(photos, out=tmp_path / "run", config=SHORT, command="medmamba train photos", epochs=1)
    origin = load_bundle(run).provenance
    assert origin["command"] == "medmamba train photos"
    assert origin["versions"] == versions()
    assert origin["machine"] == describe_machine(torch.device("cpu"))
    assert origin["split_file"] == describe_splits(run)["split_file"]
    assert origin["seconds"] > 0
    assert len(origin["data"]["fingerprint"]) == 64
    assert load_checkpoint(run)["provenance"]["split_file"] == origin["split_file"]  # so a resumed run has it too
    card = (run / "card.md").read_text()
    assert f"SHA-256 {origin['split_file']['sha256']}" in card
    assert f"| machine | {platform.system()} on {markdown_cell(platform.machine())} with " in card
    assert "| wall time | " in card
