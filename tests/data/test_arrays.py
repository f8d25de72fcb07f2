"""Arrays that are mapped from disk: never whole in memory, right, and named when damaged."""

import errno
import logging
import pickle
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from medmamba.data import arrays
from medmamba.data.arrays import Joined, Later, Mapped, in_words, open_array, read_header
from medmamba.data.medmnist import open_npz
from medmamba.errors import InputError

Make = Callable[..., Path]
SHAPE = (3000, 64, 64)  # 12 MB
SIZE = 3000 * 64 * 64


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/medmamba/arrays"


@pytest.fixture
def images() -> np.ndarray:
    pixels = np.zeros(SHAPE, np.uint8)
    pixels += np.arange(64, dtype=np.uint8)
    pixels[:, 0, 0] = np.arange(3000) % 251
    pixels[:, 0, 1] = np.arange(3000) // 251
    return pixels


@pytest.fixture(params=["stored", "deflated"])
def path(request: pytest.FixtureRequest, tmp_path: Path, images: np.ndarray) -> Path:
    path = tmp_path / f"{request.param}.npz"
    (np.savez if request.param == "stored" else np.savez_compressed)(path, labels=np.arange(5), images=images)
    return path


def peak(work: Callable[[], object]) -> int:
    """Bytes that were allocated at most, numpy's among them; what is mapped is none of them."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_large_array_is_the_same_and_never_in_memory(
    path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "PIECE", 1 << 16)
    opened: list[np.ndarray | Mapped] = []
    assert peak(lambda: opened.append(open_array(path, "images", large=1 << 20))) < SIZE / 10
    array = opened[0]
    assert isinstance(array, Mapped)
    assert len(array) == 3000
    assert peak(lambda: [array[index].sum() for index in range(3000)]) < SIZE / 10
    assert all((array[index] == images[index]).all() for index in (0, 1, 1500, -1))
    assert in_words(array) == "12.3 MB mapped from disk"


def test_a_small_array_is_read_as_before(path: Path, images: np.ndarray) -> None:
    array = open_array(path, "images")
    assert isinstance(array, np.ndarray)
    assert (array == images).all()
    assert in_words(array) == "12.3 MB in memory"
    assert list(path.parent.glob("*.npy")) == []


def test_a_compressed_array_is_unpacked_once_and_told(
    tmp_path: Path, images: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=images)
    for _ in range(3):
        open_array(path, "images", large=1000)
    assert caplog.text.count("unpacking images once, 12.3 MB, into") == 1
    (unpacked,) = tmp_path.glob("*.npy")
    assert unpacked.name.startswith("set.images.")
    assert (np.load(unpacked) == images).all()
    images[5, 5, 5] += 1
    np.savez_compressed(path, images=images)  # another file under the same name
    array = open_array(path, "images", large=1000)
    assert (array[5] == images[5]).all()
    assert caplog.text.count("unpacking") == 2


def test_a_stored_array_is_mapped_where_it_lies(tmp_path: Path, images: np.ndarray) -> None:
    np.savez(tmp_path / "set.npz", images=images)
    array = open_array(tmp_path / "set.npz", "images", large=1000)
    assert isinstance(array, Mapped)
    assert array.path == tmp_path / "set.npz"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.npz"]


def test_a_folder_without_leave_or_room_sends_it_to_the_cache(
    tmp_path: Path, images: np.ndarray, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=images)
    free = {tmp_path: 0, cache: 10**12}

    def usage(folder: Path) -> object:
        return type("Usage", (), {"free": free[Path(folder)]})

    monkeypatch.setattr(shutil, "disk_usage", usage)
    array = open_array(path, "images", large=1000)
    assert isinstance(array, Mapped)
    assert array.path.parent == cache
    assert (array[7] == images[7]).all()
    free[cache] = SIZE  # found again although there is no room for a second one
    assert (open_array(path, "images", large=1000)[7] == images[7]).all()
    array.path.unlink()
    with pytest.raises(
        InputError, match=r"12\.3 MB to unpack, but .* has 0\.0 MB free and .* has 12\.3 MB free; make room"
    ):
        open_array(path, "images", large=1000)
    assert list(cache.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_sends_it_to_the_cache(
    tmp_path: Path, images: np.ndarray, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=images)
    temporary_file = tempfile.TemporaryFile

    def refuse(*, dir: Path) -> object:
        if dir == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return temporary_file(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    array = open_array(path, "images", large=1000)
    assert isinstance(array, Mapped)
    assert array.path.parent == cache
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["set.npz"]


def test_a_disk_that_fills_while_unpacking_leaves_nothing(
    tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=images)

    def full(file: object) -> Iterator[bytes]:
        yield b"some"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arrays, "_pieces", full)
    with pytest.raises(InputError, match=r"became full while set\.npz was unpacked"):
        open_array(path, "images", large=1000)
    assert [entry.name for entry in tmp_path.iterdir() if not entry.is_dir()] == ["set.npz"]


@pytest.mark.parametrize("keep", [np.savez, np.savez_compressed])
def test_f076_a_damaged_large_array_is_named_and_nothing_is_left(
    tmp_path: Path, keep: Callable[..., None], images: np.ndarray
) -> None:
    path = tmp_path / "breastmnist_64.npz"
    parts = {f"{split}_images": images[:400] for split in ("train", "val", "test")}
    parts |= {f"{split}_labels": np.zeros((400, 1), np.uint8) for split in ("train", "val", "test")}
    keep(path, **parts)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("train_images.npy")
    raw = bytearray(path.read_bytes())
    raw[info.header_offset + info.compress_size // 2] ^= 0x55
    path.write_bytes(raw)
    data = open_npz(path, large=1000)
    assert len(data.split("val")) == 400
    with pytest.raises(InputError, match=r"breastmnist_64.npz is damaged or truncated .* get it again"):
        data.split("train").read(0)
    assert not [entry for entry in tmp_path.iterdir() if "train_images" in entry.name]
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match="damaged or truncated"):
        open_npz(path, large=1000)


def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("images.npy", "w") as file:
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 64, 64)})
        file.write(bytes(1000))
    assert read_header(path, "images").size == 64 * 64 * 10**6
    with pytest.raises(ValueError, match="1000 bytes of values, its header says 4096000000"):
        open_array(path, "images", large=1000)


def test_f070_a_mapped_split_goes_to_another_process_without_its_pixels(make_npz: Make) -> None:
    data = open_npz(make_npz("breastmnist_64.npz", side=64, counts=(40, 4, 6)), large=1000)
    images = data.split("train")
    assert isinstance(images.array, Later)
    images.read(3)
    frozen = pickle.dumps(images)
    assert len(frozen) < 40 * 64 * 64 / 4
    assert (pickle.loads(frozen).read(17) == 17).all()
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read(17)[5, 5])"
    done = subprocess.run([sys.executable, "-c", code], input=frozen, capture_output=True, check=True)
    assert done.stdout.strip() == b"17"


def test_all_splits_at_once_are_not_copied(make_npz: Make) -> None:
    data = open_npz(make_npz("breastmnist_64.npz", side=64, counts=(40, 4, 6)), large=1000)
    together = data.split("all")
    assert isinstance(together.array, Joined)
    assert len(together) == 50
    assert [int(together.read(index)[0, 0]) for index in (0, 39, 40, 43, 44, 49, -1)] == [0, 39, 0, 3, 0, 5, 5]
    assert pickle.loads(pickle.dumps(together)).names == together.names
    with pytest.raises(IndexError):
        together.read(50)
    assert "mapped from disk" in in_words(together.array)


def test_f077_a_large_file_of_another_size_is_refused_before_it_is_unpacked(make_npz: Make) -> None:
    path = make_npz("breastmnist_128.npz", side=64, counts=(40, 4, 6))
    with pytest.raises(InputError, match="holds images of 64 x 64, not 128 x 128"):
        open_npz(path, large=1000)
    assert list(path.parent.glob("*.npy")) == []


def test_labels_alone_do_not_unpack_the_images(make_npz: Make, tmp_path: Path) -> None:
    data = open_npz(make_npz("breastmnist_64.npz", side=64, counts=(40, 4, 6)), large=1000)
    assert len(data.split("all").targets) == 50
    assert data.fingerprint()
    assert [path.name for path in tmp_path.iterdir()] == ["breastmnist_64.npz"]
    assert data.split("test").read(5).max() == 5
    assert sorted(path.name.split(".")[1] for path in tmp_path.iterdir()) == ["npz", "test_images"]
