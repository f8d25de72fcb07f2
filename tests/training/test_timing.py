"""The time of an epoch in the log, and how often images are read. No test looks at a clock."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from noise import SHORT
from PIL import Image

from medmamba.data import dataset
from medmamba.training import fit, loader, timing
from medmamba.training.timing import Pace, TimedBatches, remedy


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands where the test puts it."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


class Slow:
    """Two batches, each of which takes three seconds by the clock."""

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[int]:
        for number in range(2):
            self.clock[0] += 3
            yield number


def timed(clock: list[float], compute: float) -> TimedBatches:
    """The batches of an epoch, after one in which each step computed so many seconds."""
    batches = TimedBatches(Slow(clock), torch.device("cpu"))  # type: ignore[arg-type]
    for _ in batches:
        clock[0] += compute
    return batches


def test_waiting_is_the_time_until_a_batch_comes(clock: list[float]) -> None:
    batches = timed(clock, 5.0)
    assert (batches.waited(), len(batches)) == (6.0, 2)
    list(batches)
    assert batches.waited() == 6.0  # of the last epoch alone


def test_f029_the_log_splits_the_time_and_warns_once(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    pace = Pace(timed(clock, 1.0), "buy a faster disk")
    for epoch in (1, 2):
        pace.report(epoch, images=24, training=8.0, validation=2.5)
    assert "time of epoch 2: training 8.000 s (3.0 images/s), of it 75 % waiting for images (6.000 s)" in caplog.text
    assert "and 2.000 s computing; validation and saving 2.500 s" in caplog.text
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["reading images is the brake: training waits for it 75 % of the time; buy a faster disk"]


def test_f029_a_short_wait_is_no_brake(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    Pace(timed(clock, 20.0), "").report(1, images=24, training=46.0, validation=1.0)
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_f029_the_remedy_fits_the_cause() -> None:
    assert "read in every epoch: set workers" in remedy(on_gpu=False, in_memory=False, workers=0)
    assert "augmentation: raise workers above 2" in remedy(on_gpu=False, in_memory=True, workers=2)
    assert "workers" not in remedy(on_gpu=True, in_memory=True, workers=2)


@pytest.fixture
def large_pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(30):
        folder = tmp_path / "data" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (400, 400), np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "data"


@pytest.mark.parametrize("memory", [10**9, 100])
def test_f029_images_in_memory_are_decoded_once_and_others_in_every_epoch(
    large_pictures: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    """Large files at a small size, two epochs: the resized images are kept, so the second epoch reads none."""
    reads: list[Path] = []
    read = dataset.read_image

    def count(path: Path, *arguments: object, **options: object) -> np.ndarray:
        reads.append(path)
        return read(path, *arguments, **options)

    monkeypatch.setattr(dataset, "read_image", count)
    monkeypatch.setattr(loader, "MEMORY", memory)
    run = fit(large_pictures, out=large_pictures.parent / "run", config=SHORT, image_size=(64, 64), epochs=2)
    log = (run / "log.txt").read_text()
    assert log.count("waiting for images") == 2
    used = len(set(reads))  # train and val; the test split is not read
    assert 20 < used < 30
    assert len(reads) == used * (1 if memory > 100 else 3)  # once to check, then once in each epoch


def test_f029_a_run_logs_every_epoch(short_fit: Callable[..., Path]) -> None:
    log = (short_fit(epochs=3) / "log.txt").read_text()
    assert [f"time of epoch {epoch}: training" in log for epoch in (1, 2, 3, 4)] == [True, True, True, False]
