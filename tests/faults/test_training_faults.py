"""Whole runs by the command line under real faults: a full disk, a folder that cannot be written, signals of a cluster.

Slow: each process imports everything anew.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medmamba.bundle import load_bundle, load_model, read_weights
from medmamba.training.checkpoint import load_checkpoint

SOURCES = Path(__file__).parents[2] / "src"
EPOCHS = 4
OPTIONS = [
    *("--model", "test_resnet", "--recipe", "small", "--image-size", "32", "32", "--epochs", str(EPOCHS)),
    *("--batch-size", "8", "--device", "cpu"),
]

pytestmark = pytest.mark.slow


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "medmamba", "train", "phantoms:60", "--out", str(out), *OPTIONS, *more]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=300)


def last_line(told: str) -> str:
    return told.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = run(command(out))
    assert done.returncode == 0, done.stderr
    return out


def goes_on_to(out: Path, whole: Path) -> None:
    done = run(command(out, "--resume"))
    assert done.returncode == 0, done.stderr
    one, other = read_weights(out), read_weights(whole)
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert (out / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()
    assert load_bundle(out).provenance["ended"] == "finished"


def test_a_disk_that_fills_up_leaves_the_best_epoch_and_a_run_that_goes_on(whole: Path, tmp_path: Path) -> None:
    """A file system in memory, with room for what is there after the first epoch and half of a checkpoint more."""
    weights, state = ((whole / name).stat().st_size for name in ("weights.safetensors", "resume.ckpt"))
    disk, saved = tmp_path / "disk", tmp_path / "saved"
    disk.mkdir()
    words = shlex.join(command(disk / "run"))
    size = 2 * state + weights + state // 2
    script = (
        f"mount -t tmpfs -o size={size} none {disk} || exit 77; {words}; code=$?; cp -a {disk}/run {saved}; exit $code"
    )
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not here")
    done = run(["unshare", "--map-root-user", "--mount", "sh", "-c", script])
    if "unshare" in done.stderr or done.returncode == 77:
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 1, done.stderr
    said = last_line(done.stderr)
    assert "No space left on device" in said
    assert "keeps the weights of epoch" in said
    assert "the same command with --resume goes on after epoch" in said
    assert "Traceback" not in done.stderr
    load_model(saved)
    assert 1 <= len(load_checkpoint(saved)["history"]) < EPOCHS
    goes_on_to(saved, whole)


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    """A run in a process group of its own, which is in its second epoch."""
    running = subprocess.Popen(
        command(out, *more), env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for _ in range(3000):
        if running.poll() is not None or (
            (out / "history.csv").is_file() and len((out / "history.csv").read_text().splitlines()) > 1
        ):
            break
        time.sleep(0.02)
    return running


@pytest.mark.parametrize("way", ["once", "twice", "group", "grace"])
def test_sigterm_ends_a_run_after_the_step_in_hand_and_loses_nothing(whole: Path, tmp_path: Path, way: str) -> None:
    """To the process; again at once; to its workers too, as a cluster does; with a SIGKILL before it could end."""
    out = tmp_path / "run"
    running = start(out, *(["--workers", "2"] if way == "group" else []))
    if way == "group":
        os.killpg(running.pid, signal.SIGTERM)
    else:
        running.terminate()
    if way == "twice":
        running.terminate()
    if way == "grace":
        running.kill()
    _, said = running.communicate(timeout=120)
    epochs = len((out / "history.csv").read_text().splitlines()) - 1
    if epochs == EPOCHS:
        pytest.skip("the run was over before it was told to end")
    load_model(out)
    assert len(load_checkpoint(out)["history"]) >= epochs
    if way in ("once", "group"):
        assert running.returncode == 1, said  # so that a script does not go on with half a training
        assert "stopped by SIGTERM after" in said
        assert "the same command with --resume goes on after epoch" in said
        assert load_bundle(out).provenance["ended"] == "stopped by SIGTERM"
    assert "Traceback" not in said
    goes_on_to(out, whole)
