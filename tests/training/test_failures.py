"""What may end a run from outside: each ends with a run that can be used and resumed, and one sentence."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import in_a_copy
from noise import SHORT, make_data
from PIL import Image
from torch import Tensor

from medmamba.bundle import load_bundle, load_model, read_weights
from medmamba.cli import main
from medmamba.errors import InputError
from medmamba.training import TrainConfig, TrainingError, fit
from medmamba.training.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from medmamba.training.failures import failures_explained
from medmamba.training.folder import LOG, run_log
from medmamba.training.lightning_trainer import said_once
from medmamba.training.module import Trainee

Fit = Callable[..., Path]
GONE = RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported")


@contextmanager
def in_step(number: int, action: Callable[[], object]) -> Iterator[None]:
    """Inside the block, something happens in step `number` of a run, from 1."""
    step, count = Trainee.training_step, iter(range(1, 10_000))

    def watch(self: Trainee, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        if next(count) == number:
            action()
        return step(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainee, "training_step", watch)
        yield


@contextmanager
def no_room(for_names: str, after: int, reason: int = errno.ENOSPC) -> Iterator[None]:
    """Inside the block, from the so many-th file on whose name has `for_names` in it, none gets its bytes on disk."""
    sync, count = os.fsync, iter(range(10_000))

    def full(handle: int) -> None:
        if for_names in os.readlink(f"/proc/self/fd/{handle}") and next(count) >= after:
            raise OSError(reason, os.strerror(reason))
        sync(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        yield


def equal(one: Path, other: Path) -> bool:
    first, second = read_weights(one), read_weights(other)
    return all(torch.equal(first[name], second[name]) for name in first) and (
        (one / "history.csv").read_bytes() == (other / "history.csv").read_bytes()
    )


def fail(reason: BaseException) -> None:
    raise reason


def sentence_of(stop: pytest.ExceptionInfo[TrainingError]) -> str:
    """The message, which is one line and says how to go on."""
    assert "\n" not in str(stop.value)
    assert "the same command with --resume" in str(stop.value)
    return str(stop.value)


@pytest.mark.parametrize(
    ("names", "after", "kept", "saved"),
    [("resume.ckpt", 2, 2, 1), ("weights", 1, 1, 2), ("history.csv", 1, 2, 2), ("", 0, 1, 1)],
)
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_or_read_only_ends_a_run_that_can_be_used_and_resumed(
    short_fit: Fit, tmp_path: Path, names: str, after: int, kept: int, saved: int, reason: int
) -> None:
    """In the second epoch: what a resume needs, the weights, the history, or all of it."""
    options = {"epochs": 3}
    whole = short_fit("whole", **options)
    assert load_bundle(whole).provenance["best_epoch"] > 1, "the test needs a second epoch that is better"
    with contextlib.ExitStack() as stack:
        if names:
            stack.enter_context(no_room(names, after, reason))
        else:
            stack.enter_context(in_step(5, lambda: stack.enter_context(no_room("", 0, reason))))
        with pytest.raises(TrainingError, match="could not be written to") as stop:
            short_fit("run", **options)
    run, sentence = tmp_path / "run", sentence_of(stop)
    assert f"keeps the weights of epoch {kept}," in sentence
    assert f"goes on after epoch {saved}" in sentence
    assert "make room" in sentence
    load_model(run)
    assert load_bundle(run).provenance["best_epoch"] == kept
    assert len(load_checkpoint(run)["history"]) == saved
    assert equal(short_fit("run", resume=True, **options), whole)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process cannot be copied here")
def test_a_folder_that_becomes_read_only_ends_the_run_with_what_it_holds(short_fit: Fit, tmp_path: Path) -> None:
    """Really so: for a user other than the owner where the tests are root's, to whom nothing is read-only."""
    whole = short_fit("whole", epochs=3)
    said, root = tmp_path / "said.txt", os.geteuid() == 0

    def lock() -> None:
        (tmp_path / "run").chmod(0o555)
        if root:
            os.seteuid(65534)

    def work() -> None:
        with in_step(5, lock), pytest.raises(TrainingError, match="Permission denied") as stop:
            short_fit("run", epochs=3)
        if root:
            os.seteuid(0)
        said.write_text(sentence_of(stop))

    assert in_a_copy(work) == 0
    (tmp_path / "run").chmod(0o755)
    assert "keeps the weights of epoch 1" in said.read_text()
    assert "goes on after epoch 1, and epoch 2 is made again" in said.read_text()
    load_model(tmp_path / "run")
    assert equal(short_fit("run", resume=True, epochs=3), whole)


def test_a_full_disk_in_the_first_epoch_is_resumed_from_the_first_step(short_fit: Fit, tmp_path: Path) -> None:
    whole = short_fit("whole")
    for after in (0, 1):
        name = str(after)
        with no_room("resume.ckpt", after), pytest.raises(TrainingError, match="what a resume needs") as stop:
            short_fit(name)
        assert "starts it from its first step" in sentence_of(stop)
        assert equal(short_fit(name, resume=True), whole)


def test_the_first_epoch_whose_state_finds_no_room_still_gives_weights(short_fit: Fit, tmp_path: Path) -> None:
    with no_room("resume.ckpt", 1), pytest.raises(TrainingError, match="keeps the weights of epoch 1"):
        short_fit()
    load_model(tmp_path / "run")


def test_what_reads_back_otherwise_is_not_taken_for_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, {"n": torch.tensor([1.0])})
    replace = os.replace

    def rot(source: str, target: str) -> None:
        if str(target).endswith(".new"):
            content = bytearray(Path(source).read_bytes())
            content[len(content) // 2] ^= 1
            Path(source).write_bytes(content)
        replace(source, target)

    monkeypatch.setattr(os, "replace", rot)
    with pytest.raises(RuntimeError, match="reads back otherwise"):
        save_checkpoint(tmp_path, {"n": torch.tensor([2.0])})
    found = find_checkpoint(tmp_path)
    assert found.state["n"] == 1
    assert (found.file, found.passed_over) == ("resume.ckpt", ())


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_a_killed_worker_ends_the_run_and_a_terminated_one_is_a_sigterm(
    short_fit: Fit, tmp_path: Path, signal: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = short_fit("whole")

    def strike() -> None:
        worker = multiprocessing.active_children()[0]
        own = [str(os.getpid())] if signal == "TERM" else []
        subprocess.run(["kill", f"-{signal}", str(worker.pid), *own], check=True)  # from outside, as torch can tell
        worker.join()

    with in_step(5, strike):
        if signal == "TERM":  # as a cluster does to all processes of a job
            run = short_fit("cut", workers=1)
            assert "stopped by SIGTERM" in caplog.text
            assert "goes on after epoch 1" in caplog.text
        else:
            with pytest.raises(TrainingError, match="a process that reads images was killed") as stop:
                short_fit("cut", workers=1)
            assert "fewer workers than 1, or 0" in sentence_of(stop)
            run = tmp_path / "cut"
    assert load_bundle(run).provenance["epochs"] == 1
    assert equal(short_fit("cut", resume=True, workers=0), whole)


def test_a_gpu_that_is_lost_ends_the_run_with_a_sentence(short_fit: Fit, tmp_path: Path) -> None:
    whole = short_fit("whole")
    with in_step(5, lambda: fail(GONE)), pytest.raises(TrainingError, match="the GPU failed") as stop:
        short_fit("cut")
    assert "CUDA error: unspecified launch failure" in sentence_of(stop)
    assert "1 of 3 steps of epoch 2 are made again" in str(stop.value)
    assert load_bundle(tmp_path / "cut").provenance["ended"].startswith("the GPU failed")
    assert equal(short_fit("cut", resume=True), whole)


def test_a_thread_whose_other_end_was_killed_adds_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.excepthook
    with failures_explained(TrainConfig()):  # as multiprocessing.resource_sharer says it
        sys.excepthook(ConnectionResetError, ConnectionResetError("reset by peer"), None)
        assert capsys.readouterr().err == ""
        sys.excepthook(ZeroDivisionError, ZeroDivisionError("told"), None)
        assert "ZeroDivisionError: told" in capsys.readouterr().err
    assert sys.excepthook is before


def test_other_errors_are_not_taken_for_one_of_these() -> None:
    with pytest.raises(RuntimeError, match="shapes") as stop, failures_explained(SHORT):
        raise RuntimeError("shapes do not fit")
    assert not isinstance(stop.value, TrainingError)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_is_gone_in_a_later_epoch_ends_the_run_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("medmamba.training.loader.MEMORY", 0)  # read in every epoch
    for place, split in enumerate(("train", "val", "test")):
        for shade, name in enumerate(("a", "b")):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index in range(8):
                grey = np.full((8, 8), 9 * index + 90 * shade + 3 * place, np.uint8)
                Image.fromarray(grey).save(tmp_path / "data" / split / name / f"{index}.png")
    gone = tmp_path / "data" / "train" / "a" / "3.png"
    content = gone.read_bytes()
    options = {"out": tmp_path / "run", "config": SHORT, "workers": workers, "epochs": 3}
    with in_step(4, gone.unlink), pytest.raises(TrainingError, match=r"now could not: .*3\.png") as stop:
        fit(tmp_path / "data", **options)
    assert "keeps the weights of epoch" in sentence_of(stop)
    gone.write_bytes(content)
    assert load_bundle(fit(tmp_path / "data", resume=True, **options)).provenance["ended"] == "finished"


def test_a_run_that_halves_goes_on_by_itself_and_stays_with_what_it_needs(
    short_fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """8 images a step: first in 1 part, then 2; a resume goes on with 2, and needs 4 at last, of 2 images each."""
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with in_step(5, lambda: fail(full)):
        run = short_fit(halve=True, epochs=3)
    assert "going on by itself, with batches in 2 parts" in caplog.text
    assert "accumulate was 1 and is 2 from here on" in caplog.text
    provenance = load_bundle(run).provenance
    assert provenance["ended"] == "finished"
    assert provenance["changed"] == ["accumulate was 1 and is 2 from epoch 2 on"]
    assert [line.split(",")[0] for line in (run / "history.csv").read_text().splitlines()[1:]] == ["1", "2", "3"]
    assert load_checkpoint(run)["request"]["config"]["accumulate"] == 2
    assert (run / "log.txt").read_text().count("epoch 1/3") == 1


def test_a_run_that_halves_ends_where_a_part_has_two_images(short_fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    step = Trainee.training_step

    def never(self: Trainee, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainee, "training_step", never)
        with pytest.raises(
            TrainingError, match=r"8 images of 32 x 32 pixels in 4 parts: .*lower the batch size"
        ) as stop:
            short_fit(halve=True)
    assert "starts it from its first step" in sentence_of(stop)
    assert [part for part in (2, 4, 8) if f"with batches in {part} parts" in caplog.text] == [2, 4]
    assert Trainee.training_step is step
    short_fit(resume=True, halve=True)


def test_halving_is_for_one_process() -> None:
    with pytest.raises(InputError, match="halve is not possible with 2 processes"):
        fit(make_data(), out="nowhere", config=SHORT, halve=True, devices=2)


def test_halve_is_an_option_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", "test_resnet", "--recipe", "quick", "--image-size", "32", "32", "--device", "cpu"]
    full = torch.OutOfMemoryError("CUDA out of memory.")
    with in_step(1, lambda: fail(full)):
        assert main(["train", "phantoms:60", "--out", str(tmp_path / "run"), *options, "--epochs", "1", "--halve"]) == 0
    assert "going on by itself, with batches in 2 parts" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_log_on_a_full_disk_loses_lines_and_nothing_else(
    short_fit: Fit, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    with run_log() as log:
        (tmp_path / "run" / LOG).symlink_to("/dev/full")
        log.write_to(tmp_path / "run")
    assert "Traceback" not in capfd.readouterr().err
    run = short_fit(resume=True)  # nothing but a log is there: it is begun again
    assert load_bundle(run).provenance["ended"] == "finished"
    assert "Traceback" not in capfd.readouterr().err
    assert "lines: the disk had no room for them" in caplog.text


def test_another_list_of_classes_is_refused_under_its_name(short_fit: Fit) -> None:
    run = short_fit(epochs=1)
    with pytest.raises(InputError, match=r"list of classes was \['benign', 'malignant'\] and is \['benign', 'other'\]"):
        short_fit(epochs=1, resume=True, data=replace(make_data(), classes=("benign", "other")))
    assert run.is_dir()


def test_a_loss_that_is_not_finite_says_what_to_do(short_fit: Fit) -> None:
    def spoil(self: Trainee, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        for parameter in self.net.parameters():
            parameter.data *= torch.nan
        return step(self, batch, index)

    step = Trainee.training_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainee, "training_step", spoil)
        with pytest.raises(TrainingError, match=r"start a new run with a lower learning rate$"):
            short_fit()


def test_options_of_before_are_read(tmp_path: Path) -> None:
    assert TrainConfig(**{"seed": 3}).halve is False


def test_of_several_readers_that_are_killed_torch_says_so_once() -> None:
    """By an exception in whatever is done at that moment: the second must not meet what deals with the first."""

    def fail(number: int, frame: object) -> None:
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")

    with said_once():
        pass  # torch's own is there from here on
    before = signal.getsignal(signal.SIGCHLD)
    try:
        signal.signal(signal.SIGCHLD, fail)
        for _ in range(2):  # each run anew
            with said_once():
                with pytest.raises(RuntimeError, match="is killed by signal"):
                    signal.raise_signal(signal.SIGCHLD)
                signal.raise_signal(signal.SIGCHLD)
            assert signal.getsignal(signal.SIGCHLD) is fail
    finally:
        signal.signal(signal.SIGCHLD, before)
