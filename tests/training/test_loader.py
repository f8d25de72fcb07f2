import logging
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from noise import make_images
from PIL import Image

from medmamba.data import arrays
from medmamba.data.dataset import ImageSet
from medmamba.data.medmnist import open_npz
from medmamba.data.preprocessing import Preprocessing
from medmamba.data.settings import Reading
from medmamba.errors import InputError
from medmamba.training import loader
from medmamba.training.loader import Images, make_loader
from medmamba.training.order import EpochBatches, FixedBatches, batch_sizes

SHAPE = Preprocessing(height=16, width=16)


def test_an_epoch_has_every_image_once_and_depends_on_seed_and_epoch_alone() -> None:
    batches = EpochBatches(20, 6, seed=3)
    batches.epoch = 4
    epoch = list(batches)
    assert sorted(index for batch in epoch for _, index in batch) == list(range(20))
    assert all(key[0] == 4 for batch in epoch for key in batch)
    resumed = EpochBatches(20, 6, seed=3, epoch=4)
    assert list(resumed) == epoch
    assert list(EpochBatches(20, 6, seed=4, epoch=4)) != epoch
    batches.epoch = 5
    assert [[i for _, i in batch] for batch in batches] != [[i for _, i in batch] for batch in epoch]


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_batches_of_one_process(processes: int) -> None:
    alone = list(EpochBatches(23, 6, seed=0))
    parts = [list(EpochBatches(23, 6, seed=0, rank=rank, processes=processes)) for rank in range(processes)]
    sizes = batch_sizes(23, 6, processes)
    assert [len(part) for part in parts] == [len(sizes)] * processes
    flat = [key for batch in alone for key in batch]
    start = 0
    for number, size in enumerate(sizes):
        assert sorted(key for part in parts for key in part[number]) == sorted(flat[start : start + size])
        start += size


@pytest.mark.parametrize(
    ("n", "batch_size", "processes", "sizes"),
    [(17, 16, 1, [17]), (18, 16, 1, [16, 2]), (35, 16, 2, [16, 19]), (36, 16, 2, [16, 16, 4]), (5, 16, 1, [5])],
)
def test_f021_a_left_over_too_small_joins_the_batch_before(
    n: int, batch_size: int, processes: int, sizes: list[int]
) -> None:
    assert batch_sizes(n, batch_size, processes) == sizes


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_validation_images_come_once_over_all_processes(processes: int) -> None:
    parts = [FixedBatches(7, 2, rank=rank, processes=processes) for rank in range(processes)]
    assert sorted(index for part in parts for batch in part for _, index in batch) == list(range(7))
    assert all(len(list(part)) == len(part) for part in parts)


def test_augmentation_of_an_image_depends_on_seed_epoch_and_index_alone() -> None:
    images = Images(make_images(6), SHAPE, augment="light", seed=1)
    first = images[(0, 3)][0]
    torch.rand(100)
    assert torch.equal(images[(0, 3)][0], first)
    assert not torch.equal(images[(1, 3)][0], first)
    assert not torch.equal(Images(make_images(6), SHAPE, augment="light", seed=2)[(0, 3)][0], first)


def test_augmentation_leaves_the_global_generator_alone() -> None:
    images = Images(make_images(6), SHAPE, augment="light", seed=1)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    images[(0, 0)]
    assert torch.equal(torch.rand(1), expected)


def test_without_augmentation_the_pixels_are_the_preprocessings() -> None:
    source = make_images(6)
    pixels, target, index = Images(source, SHAPE)[(9, 5)]
    assert np.array_equal(pixels.numpy(), SHAPE.pixels(source.read(5)))
    assert (int(target), index) == (1, 5)


def test_images_that_do_not_fit_into_memory_are_read_again_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Images(make_images(6), SHAPE)
    monkeypatch.setattr(loader, "MEMORY", 100)
    read = Images(make_images(6), SHAPE)
    assert kept.cache is not None
    assert read.cache is None
    assert all(torch.equal(kept[(0, i)][0], read[(0, i)][0]) for i in range(6))


@pytest.mark.parametrize("memory", [100, 10**9])
def test_f038_files_are_read_as_the_model_says_and_their_frame_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, memory: int
) -> None:
    monkeypatch.setattr(loader, "MEMORY", memory)
    pages = [Image.new("L", (8, 8), 40 * k) for k in range(1, 4)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    shape = Preprocessing(height=16, width=16, reading=Reading(frame="3"))
    with caplog.at_level(logging.WARNING):
        images = Images(ImageSet(("x.tif",), np.array([0]), files=(tmp_path / "x.tif",)), shape)
        assert all(images[(epoch, 0)][0].unique().tolist() == [120] for epoch in range(3))
    assert caplog.messages == [f"{tmp_path / 'x.tif'} has 3 frames or pages: frame 3 is used"]


@pytest.mark.parametrize("memory", [100, 10**9])
def test_an_unreadable_image_is_named_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(loader, "MEMORY", memory)
    files = (tmp_path / "good.png", tmp_path / "bad.png")
    Image.new("L", (8, 8)).save(files[0])
    files[1].write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"bad\.png"):
        Images(ImageSet(("good.png", "bad.png"), np.array([0, 1]), files=files), SHAPE)


def write_npz(path: Path) -> Path:
    """Three splits of noise, compressed, in a file of no known set."""
    parts = {}
    for split, n in (("train", 12), ("val", 6), ("test", 2)):
        images = make_images(n, seed=n)
        parts |= {f"{split}_images": images.array, f"{split}_labels": images.targets[:, None]}
    np.savez_compressed(path, **parts)
    return path


def test_an_array_on_disk_gives_what_one_in_memory_gives_and_the_log_says_where_images_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_npz(tmp_path / "noise.npz")
    kept = Images(open_npz(path).split("train"), SHAPE, augment="light", seed=1)
    assert kept.where() == "0.0 MB in memory"
    monkeypatch.setattr(loader, "MEMORY", 100)
    mapped = Images(open_npz(path, large=1000).split("train"), SHAPE, augment="light", seed=1)
    assert mapped.cache is None
    assert mapped.where() == "0.0 MB mapped from disk, read in every epoch"
    assert all(torch.equal(kept[(3, i)][0], mapped[(3, i)][0]) for i in range(12))
    files = (tmp_path / "a.png", tmp_path / "b.png")
    for file in files:
        Image.new("L", (8, 8)).save(file)
    source = ImageSet(("a", "b"), np.array([0, 1]), files=files)
    assert Images(source, SHAPE).where() == "in their files, read in every epoch"


def test_a_mapped_split_is_never_in_memory_while_it_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.zeros((2000, 64, 64), np.uint8)
    parts = {f"{split}_images": pixels for split in ("train", "val", "test")}
    parts |= {f"{split}_labels": np.arange(2000)[:, None] % 2 for split in ("train", "val", "test")}
    np.savez(tmp_path / "blank.npz", **parts)
    monkeypatch.setattr(loader, "MEMORY", 100)
    monkeypatch.setattr(arrays, "PIECE", 1 << 16)
    tracemalloc.start()
    try:
        images = Images(open_npz(tmp_path / "blank.npz", large=1000).split("train"), SHAPE)
        for batch, _, _ in make_loader(images, EpochBatches(2000, 20, seed=0), workers=0, pinned=False):
            assert batch.shape[1:] == (3, 16, 16)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < pixels.nbytes / 4


def test_what_is_kept_as_pixels_does_not_go_to_workers_as_an_array_too() -> None:
    images = Images(make_images(12, side=256), SHAPE)
    assert images.source is None
    assert len(pickle.dumps(images)) < 12 * 256 * 256 / 4


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_f070_workers_map_an_array_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(loader, "MEMORY", 100)
    images = Images(open_npz(write_npz(tmp_path / "noise.npz"), large=1000).split("train"), SHAPE, seed=5)
    alone = list(make_loader(images, EpochBatches(12, 4, seed=5), workers=0, pinned=False))
    with_workers = make_loader(images, EpochBatches(12, 4, seed=5), workers=2, pinned=False)
    with_workers.multiprocessing_context = method  # type: ignore[attr-defined]
    for one, other in zip(alone, with_workers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_f070_workers_give_give_the_same_batches_under_fork_and_spawn(method: str) -> None:
    images = Images(make_images(12), SHAPE, augment="light", seed=5)
    pickle.dumps(images)
    alone = list(make_loader(images, EpochBatches(12, 4, seed=5), workers=0, pinned=False))
    with_workers = make_loader(images, EpochBatches(12, 4, seed=5), workers=2, pinned=False)
    with_workers.multiprocessing_context = method  # type: ignore[attr-defined]
    for one, other in zip(alone, with_workers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
