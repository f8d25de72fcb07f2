"""Splits as tables: each image is tested once over the folds, patients stay whole, and train takes the tables."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medmamba.cli import main
from medmamba.data import Dataset, open_data
from medmamba.data.folds import make_folds, write_tables
from medmamba.errors import InputError
from medmamba.tasks import Task

Make = Callable[..., Path]


def files_tested(tables: list[Path]) -> list[Path]:
    return [file.resolve() for table in tables for file in open_data(table).split("test").files or ()]


def test_every_image_is_tested_once_and_classes_are_spread(make_folder: Make) -> None:
    root = make_folder({"a": 50, "b": 20, "c": 5})
    tables = write_tables(open_data(root), root / "t.csv", folds=5, seed=3)
    assert [table.name for table in tables] == [f"t-fold{k}.csv" for k in range(1, 6)]
    assert sorted(files_tested(tables)) == sorted(path.resolve() for path in root.glob("*/*.png"))
    for table in tables:
        data = open_data(table)
        assert data.made_splits == ()
        assert np.bincount(data.split("test").targets).tolist() == [10, 4, 1]
        assert np.bincount(data.split("val").targets, minlength=3).tolist() in ([5, 2, 0], [5, 1, 1], [5, 2, 1])
        names = [name for split in ("train", "val", "test") for name in data.split(split).names]
        assert len(set(names)) == len(names) == 75


def grouped(root: Path, patients: int = 30) -> Path:
    """A table of a folder with two classes, several images a patient, patients of both classes among them."""
    images = sorted(root.glob("*/*.png"))
    rows = [
        f"{path.relative_to(root).as_posix()},{path.parent.name},p{row % patients}" for row, path in enumerate(images)
    ]
    (root / "labels.csv").write_text("\n".join(["file,label,patient_id", *rows]))
    return root / "labels.csv"


def test_patients_stay_whole_in_every_fold(make_folder: Make) -> None:
    root = make_folder({"a": 80, "b": 40})
    tables = write_tables(open_data(grouped(root)), root.parent / "t.csv", folds=4)
    assert len(files_tested(tables)) == len(set(files_tested(tables))) == 120
    for table in tables:
        data = open_data(table)  # which refuses patients in two splits
        sizes = [len(data.split(name)) for name in ("train", "val", "test")]
        assert sum(sizes) == 120
        assert sizes[2] == pytest.approx(30, abs=4)
        assert 0.2 <= data.split("test").targets.mean() <= 0.5
        assert sorted(set(data.split("val").targets.tolist())) == [0, 1]


def test_the_seed_decides_and_given_splits_do_not(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"train/a": 20, "train/b": 20, "test/a": 5, "test/b": 5})

    def made(name: str, seed: int) -> str:
        tables = write_tables(open_data(root, seed=seed), tmp_path / name, folds=3, seed=seed)
        return "".join(table.read_text() for table in tables)

    assert made("a.csv", 1) == made("b.csv", 1)
    assert made("c.csv", 2) != made("a2.csv", 1)
    assert len(files_tested([tmp_path / f"a-fold{k}.csv" for k in (1, 2, 3)])) == 50


def test_without_folds_the_table_has_the_splits_of_the_data(make_folder: Make, tmp_path: Path) -> None:
    data = open_data(make_folder({"a": 40, "b": 20}), seed=7)
    (table,) = write_tables(data, tmp_path / "t.csv")
    again = open_data(table)
    for split in data.splits:
        assert (again.split(split).targets == data.split(split).targets).all()
        assert [Path(name).name for name in again.split(split).names] == [
            Path(name).name for name in data.split(split).names
        ]


def test_a_table_moves_with_its_images(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"a": 10, "b": 10})
    write_tables(open_data(root), root / "t.csv")
    moved = shutil.move(root, tmp_path / "new place")
    assert (moved / "t.csv").read_text().splitlines()[1].startswith("a/")
    assert open_data(moved / "t.csv").split("train").read(0).shape == (4, 5)


def test_a_class_of_one_image_cannot_be_tested_in_folds(make_folder: Make, tmp_path: Path) -> None:
    data = open_data(make_folder({"a": 20, "b": 20, "c": 1}))
    with pytest.raises(InputError, match="all 1 images of 'c' in set fall into one fold"):
        write_tables(data, tmp_path / "t.csv", folds=2)
    assert list(tmp_path.glob("*.csv")) == []


def test_a_class_rarer_than_the_folds_is_named(
    make_folder: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tables = write_tables(open_data(make_folder({"a": 20, "b": 2})), tmp_path / "t.csv", folds=4)
    assert "class 'b' is so rare that only 2 of 4 folds test it" in caplog.text
    assert all(1 in open_data(table).split("train").targets for table in tables)


@pytest.mark.parametrize("folds", [-1, 0, 1, 41])
def test_a_number_of_folds_that_is_not_possible(make_folder: Make, tmp_path: Path, folds: int) -> None:
    with pytest.raises(InputError, match=f"40 images cannot be cut into {folds} folds?; give from 2 to 40"):
        write_tables(open_data(make_folder({"a": 20, "b": 20})), tmp_path / "t.csv", folds=folds)


def test_nothing_is_overwritten_and_arrays_are_refused(make_folder: Make, tmp_path: Path) -> None:
    data = open_data(make_folder({"a": 20, "b": 20}))
    (tmp_path / "t-fold2.csv").write_text("mine")
    with pytest.raises(InputError, match=r"t-fold2\.csv is there already"):
        write_tables(data, tmp_path / "t.csv", folds=2)
    assert not (tmp_path / "t-fold1.csv").exists()
    with pytest.raises(InputError, match="are no files"):
        write_tables(open_data("phantoms:14"), tmp_path / "u.csv")
    with pytest.raises(InputError, match=r"does not end in \.csv"):
        write_tables(data, tmp_path / "u.txt")
    with pytest.raises(InputError, match="no folder"):
        write_tables(data, tmp_path / "no/u.csv")


def test_folds_of_a_multi_label_task_spread_each_label(make_table: Make, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = [f"i/{row}.png" for row in range(60)]
    marks = (rng.random((60, 3)) < [0.5, 0.3, 0.1]).astype(int)
    rows = [f"{file},{','.join(map(str, row))}" for file, row in zip(files, marks, strict=True)]
    path = make_table("file,x,y,z\n" + "\n".join(rows), files)
    data: Dataset = open_data(path, label_columns=["x", "y", "z"])
    tables = write_tables(data, tmp_path / "f.csv", folds=3)
    for table in tables:
        again = open_data(table, task="multi-label")
        assert (again.task, again.classes) == (Task.MULTILABEL, ("x", "y", "z"))
        for label, total in enumerate(marks.sum(axis=0)):
            assert again.split("test").targets[:, label].sum() == pytest.approx(total / 3, abs=2)


def test_folds_are_even_for_any_seed() -> None:
    targets = np.repeat([0, 1, 2], [53, 21, 7])
    for seed in range(10):
        fold_of = make_folds(targets, None, seed, 5)
        for label, most in ((0, 11), (1, 5), (2, 2)):
            counts = np.bincount(fold_of[targets == label], minlength=5)
            assert counts.max() - counts.min() <= 1
            assert counts.max() == most
        assert np.ptp(np.bincount(fold_of)) <= 3


@pytest.mark.parametrize("more", [[], ["--folds", "2"]])
def test_a_table_that_train_would_refuse_is_refused(
    make_folder: Make, tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str]
) -> None:
    root, place = make_folder({"a": 20, "b": 20}), tmp_path / "sub"
    place.mkdir()
    words = ["split", str(root), "--out", str(place / "x.csv"), *more]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"40 of 40 images lie outside the folder of {place / 'x.csv'}" in said
    assert "--allow outside-folder" in said
    assert not list(place.iterdir())
    assert main([*words, "--allow", "outside-folder"]) == 0
    assert "allowed: outside-folder" in capsys.readouterr().err
    (table, *_) = place.iterdir()
    with pytest.raises(InputError, match="outside its folder"):
        open_data(table)
    assert len(open_data(table, allow=["outside-folder"]).split("all")) == 40
