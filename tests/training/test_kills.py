"""A run is killed at every moment at which something is on its way to the disk, and goes on as if nothing had been."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import count_writings, die_at_rename, die_half_written, in_a_copy
from noise import SHORT, make_data
from PIL import Image
from torch import Tensor

from medmamba.backbone import load_backbone, load_start
from medmamba.bundle import load_bundle, load_model, read_weights
from medmamba.errors import InputError
from medmamba.training import fit, pretrain, resume
from medmamba.training.checkpoint import load_checkpoint
from medmamba.training.module import Trainee

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a process cannot be copied here")
OPTIONS = {"config": SHORT, "recipe": "small", "epochs": 3, "batch_size": 8, "augment": "light", "lr": 0.03}
Whole = tuple[Path, list[str], int]
LEFTOVER = re.compile(r"\..*|.*\.new")


def train(out: Path, **options: object) -> Path:
    return fit(make_data(), out=out, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """An undisturbed run, what it renamed files to, and how many it wrote."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, *count_writings(lambda: train(out))


def finished_epochs(run: Path) -> int:
    table = run / "history.csv"
    return len(table.read_text().splitlines()) - 1 if table.is_file() else 0


def check_usable(run: Path) -> None:
    """A killed run with a finished epoch has a bundle that is whole, of one epoch, and a checkpoint of it or later."""
    epochs = finished_epochs(run)
    if epochs or (run / "bundle.json").is_file():
        load_model(run)
        provenance = load_bundle(run).provenance
        assert len(load_checkpoint(run)["history"]) >= max(epochs, provenance["epochs"])


def check_same_as(run: Path, whole: Path) -> None:
    """Weights, history and what the bundle says of it are those of an undisturbed run, and nothing is left over."""
    one, other = read_weights(run), read_weights(whole)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    one, other = load_checkpoint(run)["net"], load_checkpoint(whole)["net"]
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (run / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()
    first, second = load_start(run).provenance, load_start(whole).provenance
    for name in ("best_epoch", "epochs", "validation", "ended"):
        assert first[name] == second[name], name
    assert {path.name for path in run.iterdir()} >= {path.name for path in whole.iterdir()}
    assert not [path.name for path in run.iterdir() if LEFTOVER.fullmatch(path.name)]


def kill_and_go_on(run: Path, whole: Path, how: Callable[[], None]) -> str:
    """Kill a run, look at it, let it go on; its log of the second time."""

    def work() -> None:
        how()
        train(run)

    assert in_a_copy(work) == -signal.SIGKILL
    check_usable(run)
    before = (run / "log.txt").read_text()
    epochs = finished_epochs(run)
    train(run, resume=True)
    log = (run / "log.txt").read_text()
    assert log.startswith(before)  # appended to
    again = log[len(before) :]
    assert not [epoch for epoch in range(1, epochs + 1) if f"epoch {epoch}/3" in again]  # none is made twice
    check_same_as(run, whole)
    return again


@pytest.mark.parametrize("name", ["resume.ckpt.new", "resume.previous.ckpt", "resume.ckpt", "weights", "history.csv"])
def test_killed_while_an_epoch_is_written_goes_on_and_ends_as_if_it_had_not_been(
    whole: Whole, tmp_path: Path, name: str
) -> None:
    """In the second epoch: before the checkpoint, in the middle of its change, before the weights and the history."""
    numbers = [number for number, target in enumerate(whole[1], start=1) if target.startswith(name)]
    second = {"resume.ckpt.new": 2, "resume.previous.ckpt": 1, "resume.ckpt": 2, "weights": 1, "history.csv": 1}[name]
    kill_and_go_on(tmp_path / "run", whole[0], lambda: die_at_rename(numbers[second]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [die_at_rename, die_half_written])
def test_killed_at_every_single_writing_goes_on_and_ends_as_if_it_had_not_been(
    whole: Whole, tmp_path: Path, kind: Callable[[int], None]
) -> None:
    writings = len(whole[1]) if kind is die_at_rename else whole[2]
    assert writings > 15
    for number in range(1, writings + 1):
        kill_and_go_on(tmp_path / str(number), whole[0], lambda at=number: kind(at))  # type: ignore[misc]


def die_in_step(number: int) -> None:
    step, count = Trainee.training_step, iter(range(1, 1000))

    def watch(self: Trainee, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, batch, index)

    Trainee.training_step = watch  # type: ignore[method-assign]


@pytest.mark.parametrize(("step", "words"), [(2, "of epoch 1 are"), (5, "resuming after epoch 1 of 3; steps that")])
def test_killed_inside_an_epoch_goes_on_from_the_last_finished_one_and_says_so(
    whole: Whole, tmp_path: Path, step: int, words: str
) -> None:
    assert words in kill_and_go_on(tmp_path / "run", whole[0], lambda: die_in_step(step))  # 3 steps an epoch


def test_killed_before_its_first_step_is_begun_again(whole: Whole, tmp_path: Path) -> None:
    kill_and_go_on(tmp_path / "run", whole[0], lambda: die_half_written(1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no resume\.ckpt"):
        train(tmp_path / "empty", resume=True)
    with pytest.raises(InputError, match=r"holds no resume\.ckpt"):
        resume(tmp_path / "never begun", data=make_data())


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing", "empty"])
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before_and_says_so(
    whole: Whole, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    assert in_a_copy(lambda: (die_in_step(8), train(run))) == -signal.SIGKILL  # in the third epoch
    path = run / "resume.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": bytes(content[:-200]), "flipped": bytes(content), "empty": b""}[damage])
    train(run, resume=True)
    word = "missing" if damage == "missing" else "damaged"
    assert f"resume.ckpt is {word}" in caplog.text
    assert "going on from resume.previous.ckpt, after epoch 1" in caplog.text
    assert "epoch 2 is made again, which had been finished but not saved" in (run / "log.txt").read_text()
    check_same_as(run, whole[0])


def test_two_damaged_checkpoints_are_refused_and_both_are_named(tmp_path: Path) -> None:
    run = train(tmp_path / "run", epochs=1)
    for name in ("resume.ckpt", "resume.previous.ckpt"):
        (run / name).write_bytes(b"PK")
    with pytest.raises(InputError, match=r"resume\.ckpt is damaged .* and .*resume\.previous\.ckpt is damaged"):
        train(run, epochs=1, resume=True)


def test_the_weights_of_an_epoch_that_is_made_again_otherwise_do_not_stay(tmp_path: Path) -> None:
    """Killed between checkpoint and weights or fallen back, then resumed in other parts: the bundle is of one run."""
    run = tmp_path / "run"
    assert in_a_copy(lambda: (die_in_step(8), train(run))) == -signal.SIGKILL
    (run / "resume.ckpt").unlink()
    train(run, resume=True, accumulate=2)
    best = load_bundle(run).provenance
    rows = (run / "history.csv").read_text().splitlines()
    assert float(rows[best["best_epoch"]].split(",")[4]) == best["validation"]["loss"]
    assert best["changed"] == ["accumulate was 1 and is 2 from epoch 2 on"]


def pictures(folder: Path, seed: int) -> str:
    rng = np.random.default_rng(seed)
    for shade, name in enumerate(("benign", "malignant")):
        (folder / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 100, (16, 16), dtype=np.uint8) + np.uint8(100 * shade)
            Image.fromarray(pixels).save(folder / name / f"{seed}-{index}.png")
    return str(folder)


def test_a_killed_pretraining_goes_on_by_resume_alone(tmp_path: Path) -> None:
    sets = [pictures(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]

    def learn(name: str) -> Path:
        return pretrain(sets, out=tmp_path / name, config=SHORT, epochs=3, lr=0.03)

    names, _ = count_writings(lambda: learn("whole"))
    second = [number for number, name in enumerate(names, start=1) if name == "resume.ckpt"][2]
    assert in_a_copy(lambda: (die_at_rename(second), learn("cut"))) == -signal.SIGKILL
    load_backbone(tmp_path / "cut")
    check_same_as(resume(tmp_path / "cut", workers=1), tmp_path / "whole")
