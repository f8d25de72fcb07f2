"""Image sets and data sets as such: pickling, refusals, fingerprints."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medmamba.data import Dataset, ImageSet, open_data
from medmamba.errors import InputError
from medmamba.tasks import Task

Make = Callable[..., Path]


@pytest.fixture(params=["folder", "table", "npz", "phantoms", "reordered"])
def data(request: pytest.FixtureRequest, make_folder: Make, make_npz: Make) -> Dataset:
    if request.param == "phantoms":
        return open_data("phantoms:14")
    if request.param == "npz":
        return open_data(make_npz("breastmnist.npz"))
    if request.param == "reordered":
        return open_data(make_npz("breastmnist.npz"), classes=("normal, benign", "other", "malignant"))
    root = make_folder({"a": 10, "b": 10})
    if request.param == "table":
        open_data(root).write_splits(root / "splits.csv")
    return open_data(root)


def test_data_sets_and_image_sets_pickle(data: Dataset) -> None:
    again = pickle.loads(pickle.dumps(data))
    assert again.fingerprint() == data.fingerprint()
    for name in data.splits:
        images, back = data.split(name), pickle.loads(pickle.dumps(data.split(name)))
        assert (back.names, back.groups) == (images.names, images.groups)
        assert (back.targets == images.targets).all()
        assert (back.read(0) == images.read(0)).all()


def test_targets_are_int64_and_names_differ(data: Dataset) -> None:
    names = [name for split in data.splits for name in data.split(split).names]
    assert len(set(names)) == len(names)
    assert all(data.split(split).targets.dtype == np.int64 for split in data.splits)


def test_an_unknown_split_is_refused_with_those_there_are(data: Dataset) -> None:
    with pytest.raises(InputError, match="no split 'tests', only train, val, test; did you mean 'test'"):
        data.split("tests")


def never() -> ImageSet:
    raise AssertionError("the test split was opened")


def test_the_fingerprint_never_opens_test_and_sees_names_targets_and_classes() -> None:
    def made(names: tuple[str, ...], targets: list[int], classes: tuple[str, ...] = ("a", "b")) -> str:
        images = ImageSet(names, np.array(targets), array=np.zeros((2, 4, 4), np.uint8))
        splits = {"train": lambda: images, "val": lambda: images, "test": never}
        return Dataset("x", Task.BINARY, classes, splits, positive=1).fingerprint()

    prints = {
        made(("1", "2"), [0, 1]),
        made(("1", "3"), [0, 1]),
        made(("1", "2"), [1, 1]),
        made(("1", "2"), [0, 1], ("a", "c")),
    }
    assert len(prints) == 4
    assert made(("1", "2"), [0, 1]) in prints


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 names but 3 array"):
        ImageSet(("1", "2"), np.zeros(2, np.int64), array=np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="either files or an array"):
        ImageSet(("1",), np.zeros(1, np.int64))


def test_an_unknown_task_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="no task 'multiclass'; did you mean 'multi-class'"):
        open_data("phantoms:14", task="multiclass")


def test_a_task_that_does_not_fit_the_classes_is_refused(make_folder: Make) -> None:
    with pytest.raises(InputError, match="a binary task has two classes, but set has 3"):
        open_data(make_folder({"a": 9, "b": 9, "c": 9}), task="binary")


def test_ordinal_can_be_asked_for(make_folder: Make) -> None:
    assert open_data(make_folder({"0": 9, "1": 9, "2": 9}), task="ordinal").task is Task.ORDINAL


def test_the_module_loads_neither_torch_nor_sklearn() -> None:
    import subprocess
    import sys

    heavy = ("torch", "torchvision", "sklearn", "timm", "matplotlib", "lightning")
    code = f"import sys, medmamba.data, medmamba.data.augment; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_is_every_split_at_once(data: Dataset) -> None:
    parts = [data.split(name) for name in data.splits]
    together = data.split("all")
    assert together.names == tuple(name for part in parts for name in part.names)
    assert (together.targets == np.concatenate([part.targets for part in parts])).all()
    last = parts[-1]
    assert (together.read(len(together) - 1) == last.read(len(last) - 1)).all()


def test_patients_of_all_splits_are_kept(make_folder: Make) -> None:
    root = make_folder({"a": 6, "b": 6})
    rows = [f"{name}/{path.name},{name},{path.stem}" for name in "ab" for path in sorted((root / name).iterdir())]
    (root / "table.csv").write_text("\n".join(["file,label,patient", *rows]))
    together = open_data(root / "table.csv").split("all")
    assert together.groups is not None
    assert len(together.groups) == len(together) == 12


@pytest.mark.parametrize("column", ["patient", "group"])
def test_a_column_of_groups_is_not_taken_for_one_of_patients(make_folder: Make, column: str) -> None:
    root = make_folder({"a": 6, "b": 6})
    rows = [f"{name}/{path.name},{name},{path.stem}" for name in "ab" for path in sorted((root / name).iterdir())]
    (root / "table.csv").write_text("\n".join([f"file,label,{column}", *rows]))
    data = open_data(root / "table.csv")
    assert {data.split(name).unit for name in data.splits} == {data.split("all").unit} == {column}
    assert data.split("all").take(np.arange(3)).unit == column
    data.write_splits(root / "again.csv")
    assert (root / "again.csv").read_text().splitlines()[0] == f"file,label,split,{column}"
    assert open_data(root / "again.csv").split("all").unit == column


def test_the_positive_class_is_the_last_one_or_the_one_named(make_folder: Make) -> None:
    root = make_folder({"benign": 10, "malignant": 10})
    assert open_data(root).positive == 1
    assert open_data(root, positive="benign").positive == 0
    with pytest.raises(InputError, match=r"'malignent' cannot be .* did you mean 'malignant'"):
        open_data(root, positive="malignent")
    with pytest.raises(InputError, match="multi-class data set, which has no positive class"):
        open_data(make_folder({"a": 4, "b": 4, "c": 4}), positive="a")
