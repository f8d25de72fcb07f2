"""Runs that are killed, and runs in two processes. Slow: each process imports everything anew."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from noise import make_data, make_images

import medmamba
from medmamba.bundle import load_bundle, read_weights
from medmamba.training.checkpoint import load_checkpoint

HERE = Path(__file__).parent


def environment() -> dict[str, str]:
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1] / "src"), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def command(out: Path, *more: str, **options: Any) -> list[str]:
    return [sys.executable, str(HERE / "long_run.py"), str(out), json.dumps(options), *more]


def start(out: Path, *more: str, **options: Any) -> subprocess.CompletedProcess[str]:
    words = command(out, *more, **options)
    return subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=500)


def finish(out: Path, **options: Any) -> Path:
    done = start(out, **options)
    assert done.returncode == 0, done.stderr
    return out


def epochs(run: Path) -> list[str]:
    return [line.split(",")[0] for line in (run / "history.csv").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_killed_after_an_epoch_resumes_to_bit_equal_weights(tmp_path: Path) -> None:
    options = {"model": "medmamba_nano", "recipe": "small", "epochs": 3, "augment": "light"}
    whole = finish(tmp_path / "whole", **options)
    assert start(tmp_path / "cut", "2", **options).returncode == -signal.SIGKILL
    assert epochs(tmp_path / "cut") == ["epoch", "1", "2"]
    cut = finish(tmp_path / "cut", resume=True, **options)
    assert epochs(cut) == epochs(whole) == ["epoch", "1", "2", "3"]
    for one, other in ((load_checkpoint(cut)["net"], load_checkpoint(whole)["net"]), map(read_weights, (cut, whole))):
        assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.slow
def test_f013_two_processes_with_one_seed_give_bit_equal_weights(tmp_path: Path) -> None:
    options = {"model": "medmamba_nano", "deterministic": True, "workers": 2, "epochs": 2}
    runs = [finish(tmp_path / str(i), seed=7 + i // 2, **options) for i in range(3)]
    first, again, other = map(read_weights, runs)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "choice"),
    [
        ("medmamba_nano", "none"),
        ("test_efficientnet", "none"),
        ("medmamba_nano", "class-weights"),
        ("medmamba_nano", "balanced-sampling"),
    ],
)
def test_f031_two_processes_train_what_one_does(tmp_path: Path, model: str, choice: str) -> None:
    """21 images in batches of 8: the shares of the last one, 5, are uneven. No drop path: its draws differ.

    In float64, because Adam divides a gradient by its own size, so that the rounding noise of one that is zero (a bias
    before batch normalisation) becomes a step of the full learning rate in float32.
    """
    options = {"model": model, "model_args": {"drop_path_rate": 0.0}, "precision": "64", "augment": "none"}
    options |= {"imbalance": choice}
    alone = finish(tmp_path / "alone", devices=1, **options)
    both = finish(tmp_path / "both", devices=2, **options)
    first, second = read_weights(alone), read_weights(both)
    assert first.keys() == second.keys()  # no prefix
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-6, msg=name)
    tables = [np.genfromtxt(run / "history.csv", delimiter=",", skip_header=1) for run in (alone, both)]
    np.testing.assert_allclose(tables[1], tables[0], atol=1e-6)
    scores = [medmamba.load(run, device="cpu").scores(make_images(21)) for run in (alone, both)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-6)
    assert (both / "log.txt").read_text().count("epoch 1/2") == 1  # one process writes


@pytest.mark.slow
def test_f031_two_processes_with_recorded_steps_train_what_one_does(tmp_path: Path) -> None:
    """Without DDP; the last batch is smaller, and not recorded."""
    options = {"model": "medmamba_nano", "model_args": {"drop_path_rate": 0.0}, "precision": "64", "augment": "none"}
    alone = finish(tmp_path / "alone", devices=1, **options)
    both = finish(tmp_path / "both", devices=2, recorded=True, **options)
    first, second = read_weights(alone), read_weights(both)
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
def test_f031_two_processes_mix_their_own_images_recorded_or_not(tmp_path: Path) -> None:
    (tmp_path / "mix.yaml").write_text("{lr: 0.01, mixup: 1.0}")
    options = {"model": "medmamba_nano", "precision": "64", "recipe": str(tmp_path / "mix.yaml"), "devices": 2}
    runs = [finish(tmp_path / str(name), recorded=name, **options) for name in (False, True)]
    plain, recorded = map(read_weights, runs)
    for name in plain:
        torch.testing.assert_close(recorded[name], plain[name], rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
def test_f031_two_processes_evaluate_twenty_one_images_as_one_does(tmp_path: Path) -> None:
    """An odd number of images to train on and to validate on: none is lost, none counts twice, one bundle is made."""
    options = {"model": "medmamba_nano", "model_args": {"drop_path_rate": 0.0}, "precision": "64", "augment": "none"}
    runs = [finish(tmp_path / str(n), devices=n, **options) for n in (1, 2)]
    images = make_images(21, 1, name="val")  # what `long_run.py` validates on
    data = make_data(splits={"test": lambda: images})
    matrices = []
    for run in runs:
        assert load_bundle(run).provenance["validation"]["n"] == 21
        report = medmamba.evaluate(medmamba.load(run, device="cpu"), data, "test", out=run / "evaluation")
        assert report["n"] == 21
        matrices.append(report["confusion_matrix"])
        assert sum(map(sum, matrices[-1])) == 21
    assert matrices[0] == matrices[1]
    for name in ("weights.safetensors", "resume.ckpt"):
        assert len(list((tmp_path / "2").rglob(name))) == 1
    assert not list((tmp_path / "2").rglob("*.part"))
    names = {*read_weights(runs[1]), *load_checkpoint(runs[1])["net"]}
    assert names == {*read_weights(runs[0])}
    assert not [name for name in names if name.startswith(("module.", "_orig_mod.", "net."))]


@pytest.mark.slow
def test_f031_two_processes_with_large_shares_normalise_their_own_images(tmp_path: Path) -> None:
    """What they validate with, and what is kept, has the average of both."""
    options = {"images": 128, "batch_size": 64, "lr": 1e-9, "epochs": 1, "augment": "none", "precision": "64"}
    small, large = (finish(tmp_path / str(size), devices=2, **options | {"batch_size": size}) for size in (62, 64))
    assert "batch normalisation over all processes" in (small / "log.txt").read_text()
    assert "batch normalisation over all processes" not in (large / "log.txt").read_text()
    alone = read_weights(finish(tmp_path / "alone", **options))
    weights = read_weights(large)
    # the input of the first layer is the same for all; what comes to the later ones was normalised by parts
    first, later = "conv1.1.running_mean", "layer4.0.bn2.running_mean"
    torch.testing.assert_close(weights[first], alone[first], rtol=1e-6, atol=1e-8)
    assert (weights[later] - alone[later]).norm() > 1e-4 * alone[later].norm()


@pytest.mark.slow
def test_f031_two_processes_end_together_when_one_is_told_to(tmp_path: Path) -> None:
    run, options = tmp_path / "run", {"model": "medmamba_nano", "devices": 2, "epochs": 500}
    process = subprocess.Popen(command(run, **options), env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 200
        while not (run / "history.csv").exists() and time.monotonic() < until:
            time.sleep(0.2)
        others = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        second = [int(pid) for pid in others if b"long_run.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(*second, signal.SIGTERM)
        assert process.wait(timeout=60) == 0, process.stderr.read()
    finally:
        process.kill()
    assert 1 <= len(epochs(run)) - 1 < 500
    assert load_bundle(run).provenance["ended"] == "stopped by SIGTERM"


@pytest.mark.slow
def test_f031_two_processes_accumulate(tmp_path: Path) -> None:
    """Two parts in each of two processes: the left-over of 21 images, 5, is too small for four and joins the 16."""
    run = finish(tmp_path / "run", devices=2, accumulate=2, batch_size=16, model="medmamba_nano")
    assert load_bundle(run).provenance["ended"] == "finished"
    assert (run / "history.csv").read_text().splitlines()[1].split(",")[2] == "21"
