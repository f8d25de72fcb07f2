"""Images that live on the device. The CPU stands in for the GPU: nothing in this path depends on which device it is."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from noise import make_images

from medmamba.bundle import read_weights
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import InputError
from medmamba.training import loader
from medmamba.training.checkpoint import load_checkpoint
from medmamba.training.keeper import Keeper
from medmamba.training.loader import Images, make_loader
from medmamba.training.order import EpochBatches, FixedBatches
from medmamba.training.resident import ResidentBatches

SHAPE = Preprocessing(height=16, width=16)


def resident(sampler: EpochBatches | FixedBatches, *, augment: str = "light", seed: int = 3) -> ResidentBatches:
    """The batches of 20 images."""
    images = Images(make_images(20), SHAPE)
    assert images.cache is not None
    return ResidentBatches(images.cache, images.targets, sampler, augment=augment, seed=seed)


def by_index(batches: ResidentBatches) -> dict[int, torch.Tensor]:
    return {int(index): image for pixels, _, rows in batches for image, index in zip(pixels, rows, strict=True)}


def test_without_augmentation_the_batches_are_the_loaders() -> None:
    images = Images(make_images(20), SHAPE)
    for sampler in (EpochBatches(20, 6, seed=0, epoch=2), FixedBatches(20, 6)):
        expected = list(make_loader(images, sampler, workers=0, pinned=False))
        batches = resident(sampler, augment="none")
        made = list(batches)
        assert len(made) == len(batches) == len(expected)
        for one, other in zip(made, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
            assert one[0].dtype == torch.uint8


def test_a_process_without_a_validation_image_gets_no_batch() -> None:
    assert list(resident(FixedBatches(1, 6, rank=1, processes=2))) == []


def test_what_an_image_becomes_depends_on_seed_epoch_and_index_alone() -> None:
    sampler = EpochBatches(20, 6, seed=3, epoch=1)
    first = by_index(resident(sampler))
    torch.rand(100)
    others = [EpochBatches(20, 9, seed=3, epoch=1), EpochBatches(20, 8, seed=3, epoch=1, parts=2)]
    halves = [EpochBatches(20, 6, seed=3, rank=rank, processes=2, epoch=1) for rank in range(2)]
    for other in others + halves:
        for index, image in by_index(resident(other)).items():
            # one grey level: vectorised kernels round by the place in the batch
            assert (image.int() - first[index].int()).abs().max() <= 1
    assert not torch.equal(by_index(resident(EpochBatches(20, 6, seed=3, epoch=2)))[4], first[4])
    assert not torch.equal(by_index(resident(sampler, seed=4))[4], first[4])


def test_drawing_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(resident(EpochBatches(20, 6, seed=3)))
    assert torch.equal(torch.rand(1), expected)


def test_a_run_on_resident_images_repeats_and_does_not_use_the_loader(
    short_fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(Images, "resident", property(lambda self: self.cache is not None))
    monkeypatch.setattr(Images, "__getitem__", lambda self, key: pytest.fail("an image was read one by one"))
    runs = [short_fit(name, augment="light", epochs=2, workers=3) for name in ("one", "other")]
    first, again = map(read_weights, runs)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert "workers 3 have nothing to do" in caplog.text


def test_a_resumed_run_on_resident_images_is_the_undisturbed_one(
    short_fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Images, "resident", property(lambda self: self.cache is not None))
    save = Keeper.save

    def save_and_die(self: Keeper, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        if len(self.history) == 1:
            raise ConnectionError("power cut")

    options = {"augment": "light", "epochs": 3}
    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "save", save_and_die)
        with pytest.raises(ConnectionError):
            short_fit("broken", **options)
    ends = [load_checkpoint(run)["net"] for run in (short_fit(**options), short_fit("broken", resume=True, **options))]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize(
    ("total", "augment", "on_gpu", "words"),
    [
        (200_000, "light", True, r"20 images as 0 MB of pixels live on the GPU and are augmented there \(light\)"),
        (100_000, "light", False, "more than 10 % of the GPU's memory"),
        (200_000, "autoaugment", False, "the augmentation autoaugment works image by image"),
    ],
)
def test_the_log_says_where_images_live_and_why(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    total: int,
    augment: str,
    on_gpu: bool,
    words: str,
) -> None:
    """Whatever is free at the moment: a resumed run must decide as the run did."""
    caplog.set_level("INFO")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, total))
    cuda = torch.device("cuda")
    assert loader._home(make_images(20), SHAPE, augment, cuda) == (cuda if on_gpu else torch.device("cpu"))
    assert caplog.text.count("20 images as") == 1
    assert re.search(words, caplog.text)


def test_a_gpu_without_room_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 15.00 GiB.")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 10**9))
    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(InputError, match="no room for 20 images as 0 MB of pixels: end what else uses its memory"):
        Images(make_images(20), SHAPE, device=torch.device("cuda"))


@pytest.mark.gpu
def test_on_the_gpu_images_and_batches_stay_there() -> None:
    cuda = torch.device("cuda", 0)
    there = Images(make_images(20), SHAPE, augment="light", seed=3, device=cuda)
    assert there.resident
    here = by_index(resident(EpochBatches(20, 6, seed=3)))
    for pixels, targets, rows in make_loader(there, EpochBatches(20, 6, seed=3), workers=0, pinned=True):
        assert pixels.device == targets.device == rows.device == cuda
        for image, index in zip(pixels.cpu(), rows.tolist(), strict=True):
            difference = (image.int() - here[index].int()).abs()
            assert difference.max() <= 3
            assert (difference > 0).double().mean() < 0.02
