"""MedMNIST files and names."""

import io
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest

from medmamba.data import medmnist, open_data
from medmamba.data.catalogue import MEDMNIST, SIZES
from medmamba.errors import InputError
from medmamba.tasks import Task

Make = Callable[..., Path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own and no network."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MEDMAMBA_DATA", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return tmp_path / "home"


def test_official_files_are_known_by_checksum(data_folder: Path) -> None:
    data = open_data(data_folder / "medmnist/breastmnist.npz")
    assert data.notes == ()
    assert (data.name, data.task, data.size) == ("breastmnist", Task.BINARY, (28, 28))
    assert data.classes[data.positive] == "malignant"
    assert [np.bincount(data.split(name).targets).tolist() for name in data.splits] == [
        [147, 399],
        [21, 57],
        [42, 114],
    ]
    assert data.split("train").names[17] == "train/17"


def test_colour_and_ordinal(data_folder: Path) -> None:
    data = open_data(data_folder / "medmnist/retinamnist.npz")
    assert (data.task, data.classes) == (Task.ORDINAL, ("0", "1", "2", "3", "4"))
    assert data.split("val").read(3).shape == (28, 28, 3)


def test_an_unofficial_file_is_used_and_marked(data_folder: Path) -> None:
    data = open_data(data_folder / "medmnist/pneumoniamnist_reassembled.npz")
    assert data.classes[data.positive] == "pneumonia"
    assert data.name == "pneumoniamnist_reassembled"
    assert [note for note in data.notes if "not the official file: its checksum differs" in note]
    assert len(data.split("test")) == 624


def test_catalogue_equals_the_medmnist_package() -> None:
    info = pytest.importorskip("medmnist.info", exc_type=ImportError).INFO
    assert set(MEDMNIST) == {name for name in info if "3d" not in name}
    tasks = {
        "multi-class": Task.MULTICLASS,
        "binary-class": Task.BINARY,
        "ordinal-regression": Task.ORDINAL,
        "multi-label, binary-class": Task.MULTILABEL,
    }
    for name, row in MEDMNIST.items():
        theirs = info[name]
        assert row.task is tasks[theirs["task"]]
        assert row.classes == tuple(theirs["label"][str(index)] for index in range(len(theirs["label"])))
        assert row.counts == tuple(theirs["n_samples"][split] for split in ("train", "val", "test"))
        assert (row.channels, row.licence) == (theirs["n_channels"], theirs["license"])
        for size in SIZES:
            suffix = "" if size == 28 else f"_{size}"
            assert row.md5[size] == theirs[f"MD5{suffix}"]
            assert theirs[f"url{suffix}"] == f"{medmnist.RECORD}/files/{row.file_name(size)}?download=1"


def test_one_column_with_two_values_is_binary_and_more_are_multi_class(make_npz: Make) -> None:
    assert open_data(make_npz("mine.npz")).task is Task.BINARY
    data = open_data(make_npz("other.npz", lambda row: row % 3))  # flat labels, as in some copies
    assert (data.task, data.classes) == (Task.MULTICLASS, ("0", "1", "2"))
    assert data.split("train").targets.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert any("no known MedMNIST set" in note for note in data.notes)


def test_f049_several_columns_are_multi_label_and_nothing_else(make_npz: Make) -> None:
    path = make_npz("chest.npz", lambda row: [(row + label) % 2 for label in range(14)])
    data = open_data(path)
    assert (data.task, len(data.classes)) == (Task.MULTILABEL, 14)
    assert data.split("train").targets.shape == (8, 14)
    with pytest.raises(InputError, match="14 labels an image, so its task is multi-label, not multi-class"):
        open_data(path, task="multi-class")
    with pytest.raises(InputError, match="one label an image, so its task is not multi-label"):
        open_data(make_npz("single.npz"), task="multi-label")


def test_the_beginning_of_the_name_decides(make_npz: Make) -> None:
    assert open_data(make_npz("pneumoniamnist_64_mine.npz", side=64)).classes == ("normal", "pneumonia")
    assert open_data(make_npz("PneumoniaMNIST-2.npz")).classes == ("normal", "pneumonia")
    assert open_data(make_npz("pneumoniamnistic.npz")).classes == ("0", "1")
    with pytest.raises(InputError, match="1 label columns, but chestmnist has 14"):
        open_data(make_npz("chestmnist.npz"))


def test_classes_of_another_order_are_mapped_by_name(make_npz: Make) -> None:
    data = open_data(make_npz("breastmnist.npz"), classes=("normal, benign", "malignant"))
    assert data.split("train").targets.tolist() == [1, 0] * 4
    assert data.classes[data.positive] == "malignant"
    with pytest.raises(InputError, match="does not know: malignant"):
        open_data(make_npz("breastmnist.npz"), classes=("normal, benign", "cyst"))


def test_a_label_beyond_the_classes_is_refused_when_its_split_is_opened(make_npz: Make) -> None:
    data = open_data(make_npz("breastmnist.npz", lambda row: [2 if row == 5 else 0], counts=(4, 4, 6)))
    assert len(data.split("train")) == 4
    with pytest.raises(InputError, match="label 2 in test; expected 0 to 1"):
        data.split("test")


def test_opening_train_never_unpacks_test(make_npz: Make) -> None:
    path = make_npz("breastmnist.npz", side=64, counts=(8, 4, 60))
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("test_images.npy")
    raw = bytearray(path.read_bytes())
    end = info.header_offset + 30 + len(info.filename) + info.compress_size
    raw[end - 40 : end] = bytes(40)
    path.write_bytes(raw)
    data = open_data(path)
    assert len(data.split("train")) + len(data.split("val")) == 12
    with pytest.raises(InputError, match="damaged or truncated"):
        data.split("test")


def test_f076_a_truncated_file_is_named_as_damaged(make_npz: Make) -> None:
    path = make_npz("breastmnist.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"breastmnist.npz is damaged or truncated .* get it again"):
        open_data(path)


def test_pickled_objects_volumes_and_missing_arrays_are_refused(tmp_path: Path, make_npz: Make) -> None:
    with np.load(make_npz("good.npz")) as file:
        good = dict(file)
    cases = {
        "expected uint8": good | {"train_images": np.array([{}] * 8, dtype=object)},
        "volumes are not supported": good | {"train_images": np.zeros((8, 28, 28, 28), np.uint8)},
        "no array val_labels": {name: array for name, array in good.items() if name != "val_labels"},
        "expected integers, one row an image": good | {"test_labels": good["test_labels"][1:]},
    }
    for number, (message, arrays) in enumerate(cases.items()):
        path = tmp_path / f"bad{number}.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=message):
            open_data(path)


def test_f077_the_size_asked_for_is_the_size_opened(
    make_npz: Make, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMAMBA_DATA", str(tmp_path))
    make_npz("pathmnist.npz", channels=3)
    make_npz("pathmnist_64.npz", side=64, channels=3)
    for name, expected in [("pathmnist", 28), ("pathmnist@64", 64), ("pathmnist_64", 64)]:
        data = open_data(name)
        assert data.size == (expected, expected)
        assert data.split("val").read(0).shape == (expected, expected, 3)
    assert open_data("pathmnist@64").name == "pathmnist_64"
    make_npz("pathmnist_128.npz", side=64, channels=3)
    with pytest.raises(InputError, match="holds images of 64 x 64, not 128 x 128"):
        open_data("pathmnist@128")
    with pytest.raises(InputError, match="no size 32; choose one of 28, 64, 128, 224"):
        open_data("pathmnist@32")


def test_names_are_looked_up_in_the_medmnist_folder_and_at_home(
    make_npz: Make, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_npz("breastmnist.npz")
    (home / ".medmnist").mkdir(parents=True)
    made.rename(home / ".medmnist" / made.name)
    assert len(open_data("breastmnist").split("val")) == 4
    (tmp_path / "root/medmnist").mkdir(parents=True)
    make_npz("breastmnist.npz", counts=(8, 5, 6)).rename(tmp_path / "root/medmnist/breastmnist.npz")
    monkeypatch.setenv("MEDMAMBA_DATA", str(tmp_path / "root"))
    assert len(open_data("BreastMNIST").split("val")) == 5


def test_f076_without_network_the_manual_steps_are_given(home: Path) -> None:
    with pytest.raises(InputError, match=r"download bloodmnist_64.npz from https://\S+ and put it into .*\.medmnist"):
        open_data("bloodmnist@64")
    assert list((home / ".medmnist").iterdir()) == []


def test_a_download_appears_only_when_its_checksum_is_right(
    home: Path, make_npz: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make_npz("x.npz").read_bytes()
    asked = []

    def answer(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(content)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    with pytest.raises(InputError, match="wrong checksum"):
        open_data("breastmnist")
    assert list((home / ".medmnist").iterdir()) == []
    monkeypatch.setitem(MEDMNIST["breastmnist"].md5, 28, md5(content).hexdigest())  # type: ignore[arg-type]
    assert open_data("breastmnist").notes == ()
    assert [path.name for path in (home / ".medmnist").iterdir()] == ["breastmnist.npz"]
    open_data("breastmnist")
    assert len(asked) == 2
