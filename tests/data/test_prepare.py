"""Preparers on small trees in the publishers' layouts, whole and damaged."""

import csv
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pictures import save_image

from medmamba.cli import main
from medmamba.data import open_data
from medmamba.data.catalogue import CATALOGUE, MEDMNIST
from medmamba.data.prepare import prepare
from medmamba.errors import FailedError, InputError

Make = Callable[..., Path]
PAD_HEADER = "patient_id,lesion_id,smoke,age,diagnostic,itch,img_id,biopsed"
FETAL_HEADER = "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train "


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def pad(tmp_path: Path) -> Path:
    """30 patients with two images each, spread over the three parts, as the archives unpack."""
    root = tmp_path / "zr7vgbcyr2-1"
    lines = [PAD_HEADER]
    for patient in range(30):
        for lesion in range(2):
            name = f"PAT_{patient}_{lesion}_{patient * 7}.png"
            part = f"imgs_part_{patient % 3 + 1}"
            (root / "images" / part / part).mkdir(parents=True, exist_ok=True)
            save_image(root / "images" / part / part / name)
            label = CATALOGUE["pad-ufes-20"].classes[patient % 6]
            lines.append(f"PAT_{patient},{lesion},False,{40 + patient},{label},True,{name},{lesion == 0}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def fetal(tmp_path: Path) -> Path:
    """24 patients with two images each, every third of them in test."""
    root = tmp_path / "FETAL_PLANES_ZENODO"
    (root / "Images").mkdir(parents=True)
    lines = [FETAL_HEADER]
    for patient in range(1, 25):
        for number in (1, 2):
            name = f"Patient{patient:05}_Plane{number}_1_of_2"
            save_image(root / "Images" / f"{name}.png")
            plane = CATALOGUE["fetal-planes-db"].classes[(patient + number) % 6]
            lines.append(f"{name};{patient};{plane};Not A Brain;Op. 1;Aloka;{int(patient % 3 > 0)}")
    (root / "FETAL_PLANES_DB_data.csv").write_text("\n".join(lines) + "\n")
    (root / "FETAL_PLANES_DB_data.xlsx").write_bytes(b"PK")
    return root


@pytest.fixture(params=["cpn-x-ray", "kvasir"])
def class_folders(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    row = CATALOGUE[request.param]
    root = tmp_path / "download"
    for name in row.classes:
        folder = root / "outer folder" / name
        folder.mkdir(parents=True)
        for number in range(10):
            save_image(folder / f"{name.lower()}_{number}.png")
    return request.param, root


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_pad_ufes_becomes_a_table_with_patients_that_is_cut_by_patient(pad: Path, tmp_path: Path) -> None:
    made = prepare("PAD-UFES-20", pad, out=tmp_path / "pad.csv")
    assert (made.images, made.complete) == (60, True)
    rows = read(tmp_path / "pad.csv")
    assert list(rows[0]) == ["file", "label", "patient"]
    assert rows[2] == {
        "file": "zr7vgbcyr2-1/images/imgs_part_2/imgs_part_2/PAT_1_0_7.png",
        "label": "BCC",
        "patient": "PAT_1",
    }
    assert any(note.startswith("60 images, and by its publisher 2,298: ACK 10 (not 730)") for note in made.notes)
    assert "30 patients, and by its publisher 1,373" in made.notes
    data = open_data(tmp_path / "pad.csv")
    assert data.classes == CATALOGUE["pad-ufes-20"].classes
    assert data.sources == ("PAD-UFES-20",)
    patients = [set(data.split(name).groups or ()) for name in ("train", "val", "test")]
    assert all(patients)
    assert not any(a & b for a, b in zip(patients, patients[1:] + patients[:1], strict=True))


def test_pad_ufes_rows_and_images_that_do_not_fit_are_told_and_left_out(pad: Path, tmp_path: Path) -> None:
    metadata = pad / "metadata.csv"
    next(pad.rglob("PAT_3_0_21.png")).unlink()
    replaced(metadata, "PAT_4,0,False,44,SCC", "PAT_4,0,False,44,BOD")
    replaced(metadata, "PAT_5,0,False", ",0,False")
    lines = metadata.read_text().splitlines()
    metadata.write_text("\n".join([*lines, lines[-1]]) + "\n")
    save_image(pad / "images/imgs_part_1/stray.png")
    made = prepare("pad-ufes-20", pad, out=tmp_path / "pad.csv")
    assert not made.complete
    assert made.images == len(read(tmp_path / "pad.csv")) == 56
    told = " / ".join(made.notes)
    assert "left out because their image is not there (1): PAT_3_0_21.png" in told
    assert "their diagnosis is none of ACK, BCC, MEL, NEV, SCC, SEK (1): PAT_4_0_28.png (BOD)" in told
    assert "they name no patient (1): PAT_5_0_35.png" in told
    assert "left out because several rows name their image (2): PAT_29_1_203.png" in told
    assert "images that no row names (1): images/imgs_part_1/stray.png" in told


def test_pad_ufes_without_metadata_or_images_is_refused(pad: Path, tmp_path: Path) -> None:
    (pad / "metadata.csv").rename(tmp_path / "metadata.csv")
    with pytest.raises(InputError, match=r"has no metadata\.csv, with the diagnoses; give the folder of the unpacked"):
        prepare("pad-ufes-20", pad, out=tmp_path / "pad.csv")
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "metadata.csv").rename(empty / "metadata.csv")
    (empty / "imgs_part_1.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match="holds no images; unpack the archives in it too"):
        prepare("pad-ufes-20", empty, out=tmp_path / "pad.csv")
    replaced(empty / "metadata.csv", "diagnostic", "diagnosis")
    with pytest.raises(InputError, match="has no column 'diagnostic', only patient_id, lesion_id"):
        prepare("pad-ufes-20", empty, out=tmp_path / "pad.csv")
    assert not (tmp_path / "pad.csv").exists()


def test_two_copies_of_a_download_are_refused(pad: Path, tmp_path: Path) -> None:
    save_image(pad / "images/imgs_part_1/PAT_0_0_0.png")
    with pytest.raises(InputError, match=r"has images at two places \(1\): PAT_0_0_0\.png"):
        prepare("pad-ufes-20", pad, out=tmp_path / "pad.csv")
    (pad / "copy").mkdir()
    (pad / "copy/metadata.csv").write_text("x")
    with pytest.raises(InputError, match="has 2 files called so"):
        prepare("pad-ufes-20", pad, out=tmp_path / "pad.csv")


def test_fetal_planes_keeps_the_publisher_s_split_and_val_is_cut_by_patient(fetal: Path, tmp_path: Path) -> None:
    made = prepare("fetal-planes-db", fetal, out=tmp_path / "fetal.csv")
    assert (made.images, made.complete) == (48, True)
    rows = read(tmp_path / "fetal.csv")
    assert rows[0] == {
        "file": "FETAL_PLANES_ZENODO/Images/Patient00001_Plane1_1_of_2.png",
        "label": "Fetal femur",
        "split": "train",
        "patient": "1",
    }
    assert not any("patients in the publisher's train" in note for note in made.notes)
    data = open_data(tmp_path / "fetal.csv")
    assert data.classes == CATALOGUE["fetal-planes-db"].classes
    assert data.made_splits == ("val",)
    assert set(data.split("test").groups or ()) == {str(patient) for patient in range(3, 25, 3)}
    assert not set(data.split("val").groups or ()) & set(data.split("train").groups or ())


def test_fetal_planes_damage_is_told(fetal: Path, tmp_path: Path) -> None:
    table = fetal / "FETAL_PLANES_DB_data.csv"
    (fetal / "Images/Patient00002_Plane1_1_of_2.png").unlink()
    replaced(table, "Patient00004_Plane1_1_of_2;4;Other", "Patient00004_Plane1_1_of_2;4;Placenta")
    replaced(table, "Patient00005_Plane1_1_of_2;5;Fetal abdomen;Not A Brain;Op. 1;Aloka;1",
             "Patient00005_Plane1_1_of_2;5;Fetal abdomen;Not A Brain;Op. 1;Aloka;2")  # fmt: skip
    replaced(table, "Patient00007_Plane1_1_of_2;7;Fetal femur;Not A Brain;Op. 1;Aloka;1",
             "Patient00007_Plane1_1_of_2;7;Fetal femur;Not A Brain;Op. 1;Aloka;0")  # fmt: skip
    made = prepare("fetal-planes-db", fetal, out=tmp_path / "fetal.csv")
    told = " / ".join(made.notes)
    assert (made.images, made.complete) == (45, False)
    assert "their image is not there (1): Patient00002_Plane1_1_of_2" in told
    assert "Patient00004_Plane1_1_of_2 (Placenta)" in told
    assert "neither 1 nor 0 in the column Train (1): Patient00005_Plane1_1_of_2" in told
    assert "patients in the publisher's train and in its test (1): 7" in told


def test_class_folders_at_any_depth(class_folders: tuple[str, Path], tmp_path: Path) -> None:
    name, root = class_folders
    (root / "notes.txt").write_text("x")
    save_image(root / "outer folder/cover.png")
    made = prepare(name, root, out=tmp_path / "table.csv")
    row = CATALOGUE[name]
    assert (made.images, made.complete) == (10 * len(row.classes), True)
    rows = read(tmp_path / "table.csv")
    assert list(rows[0]) == ["file", "label"]
    told = " / ".join(made.notes)
    assert f"{10 * len(row.classes)} images, and by its publisher {row.total:,}: {row.classes[0]} 10 (not" in told
    assert "images in no folder of a class (1): outer folder/cover.png" in told
    assert ".txt (1)" in told
    data = open_data(tmp_path / "table.csv")
    assert data.classes == row.classes
    assert len(data.split("all")) == made.images


def test_class_folders_that_lack_a_class_or_have_one_twice_are_refused(
    class_folders: tuple[str, Path], tmp_path: Path
) -> None:
    name, root = class_folders
    last = CATALOGUE[name].classes[-1]
    (root / "outer folder" / last).rename(root / "gone")
    with pytest.raises(InputError, match=f"has no images in a folder called {last}; give the folder of the unpacked"):
        prepare(name, root, out=tmp_path / "table.csv")
    (root / "gone").rename(root / "outer folder" / last)
    (root / "v2" / last).mkdir(parents=True)
    save_image(root / "v2" / last / "0.png")
    with pytest.raises(InputError, match=f"has two folders called {last}: outer folder/{last}, v2/{last}"):
        prepare(name, root, out=tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()


def test_a_table_that_is_there_is_not_overwritten_and_nothing_is_half_written(
    class_folders: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, root = class_folders
    out = tmp_path / "table.csv"
    out.write_text("mine")
    with pytest.raises(InputError, match="is there already; name another table"):
        prepare(name, root, out=out)
    assert out.read_text() == "mine"
    out.unlink()

    def fail(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FailedError, match="the disk is gone"):
        prepare(name, root, out=out)
    assert [path.name for path in tmp_path.iterdir()] == ["download"]


def test_paths_are_relative_to_the_table_wherever_it_lies(class_folders: tuple[str, Path], tmp_path: Path) -> None:
    name, root = class_folders
    (tmp_path / "tables").mkdir()
    made = prepare(name, root, out=tmp_path / "tables/table.csv")
    assert "images lie outside the folder of table.csv" in made.notes[-1]
    assert all(row["file"].startswith("../download/outer folder/") for row in read(tmp_path / "tables/table.csv"))
    assert len(open_data(tmp_path / "tables/table.csv", allow=("outside-folder",)).split("all")) == 10 * len(
        CATALOGUE[name].classes
    )


def test_a_medmnist_file_needs_no_table_and_its_checksum_is_told(
    make_npz: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_npz("breastmnist_64.npz", side=64)
    assert main(["prepare", "breastmnist", str(path), "--out", str(tmp_path / "x.csv")]) == 1
    assert (
        "is not the official file: its checksum differs; it needs no table: medmamba train" in capsys.readouterr().err
    )
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(MEDMNIST["breastmnist"].md5, 64, digest)  # type: ignore[arg-type]
    assert main(["prepare", "breastmnist", str(tmp_path), "--out", str(tmp_path / "x.csv")]) == 0
    captured = capsys.readouterr()
    assert "is the official file at 64 pixels; it needs no table" in captured.err
    assert captured.out == ""
    assert not (tmp_path / "x.csv").exists()
    with pytest.raises(InputError, match=r"is no \.npz of PathMNIST and holds none of pathmnist\.npz"):
        prepare("pathmnist", tmp_path, out=tmp_path / "x.csv")


def test_the_verb_prints_the_table_and_tells_what_was_left_out(
    pad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", "pad-ufes-20", str(pad), "--out", str(tmp_path / "a.csv")]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(tmp_path / "a.csv")
    assert "60 images" in captured.err
    next(pad.rglob("*.png")).unlink()
    assert main(["prepare", "pad-ufes-20", str(pad), "--out", str(tmp_path / "b.csv")]) == 1
    assert "their image is not there" in capsys.readouterr().err
    assert main(["prepare", "pad-ufes-20", str(pad), "--out", str(tmp_path / "a.csv")]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "out", "message"),
    [
        ("pad-ufes", "x.csv", "the catalogue has no 'pad-ufes'; did you mean 'pad-ufes-20'"),
        ("cervical-us", "x.csv", "Cervical-US needs no table: medmamba train .* takes a folder of class folders"),
        ("kvasir", "x.tsv", r"does not end in \.csv"),
        ("kvasir", "no/x.csv", "there is no folder .*no to write x.csv in"),
    ],
)
def test_what_cannot_be_prepared_is_refused(tmp_path: Path, name: str, out: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(name, tmp_path, out=tmp_path / out)


def test_a_download_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kvasir-dataset.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match="is no folder; give the folder of the unpacked download of Kvasir"):
        prepare("kvasir", tmp_path / "kvasir-dataset.zip", out=tmp_path / "x.csv")
