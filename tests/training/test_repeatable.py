"""One seed, one machine, one result: bit for bit on the CPU, whoever reads the images."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medmamba.bundle import read_weights

Fit = Callable[..., Path]


def same(one: Path, other: Path) -> bool:
    """Whether two runs have the same weights and the same history, in every bit."""
    first, second = read_weights(one), read_weights(other)
    history = (one / "history.csv").read_bytes() == (other / "history.csv").read_bytes()
    return history and all(torch.equal(first[name], second[name]) for name in first)


def check_workers(short_fit: Fit, tmp_path: Path, method: str, numbers: tuple[int, ...]) -> None:
    (tmp_path / "mix.yaml").write_text("{lr: 0.01, mixup: 0.4, ema: 0.9, imbalance: balanced-sampling}")
    options = {"recipe": str(tmp_path / "mix.yaml"), "augment": "autoaugment"}
    alone = short_fit("alone", **options)
    assert not same(alone, short_fit("other", seed=1, **options))
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(method, force=True)
    try:
        for workers in numbers:
            assert same(short_fit(f"{workers}", workers=workers, **options), alone), workers
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_any_number_of_workers_gives_the_same_bits(short_fit: Fit, tmp_path: Path) -> None:
    check_workers(short_fit, tmp_path, "fork", (0, 1, 3))


@pytest.mark.slow
def test_any_number_of_spawned_workers_gives_the_same_bits(short_fit: Fit, tmp_path: Path) -> None:
    check_workers(short_fit, tmp_path, "spawn", (1, 3))
