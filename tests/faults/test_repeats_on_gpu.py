"""What docs/how-to/fast-training.md promises of a run that is made again on a GPU. Of the CPU see tests/training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import medmamba
from medmamba.bundle import load_model

RUN = {
    "model": "medmamba_nano",
    "recipe": "quick",
    "image_size": (64, 64),
    "epochs": 3,
    "batch_size": 16,
    "device": "cuda",
    "deterministic": True,
    "progress": False,
}


def assert_equal(one: Path, two: Path) -> None:
    a, b = (load_model(run).state_dict() for run in (one, two))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert (one / "history.csv").read_text() == (two / "history.csv").read_text()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "32"])
def test_a_deterministic_run_repeats_bit_for_bit_on_the_card(tmp_path: Path, precision: str) -> None:
    one, two = (medmamba.fit("phantoms:140", out=tmp_path / name, precision=precision, **RUN) for name in "ab")
    assert_equal(one, two)


@pytest.mark.gpu
def test_a_deterministic_run_that_was_resumed_is_the_undisturbed_one_on_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medmamba.training.keeper import Keeper

    whole = medmamba.fit("phantoms:140", out=tmp_path / "whole", **RUN)
    ended = Keeper.on_train_epoch_end

    def stop(self: Keeper, trainer: object, module: object) -> None:
        ended(self, trainer, module)
        if len(self.history) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "on_train_epoch_end", stop)
        cut = medmamba.fit("phantoms:140", out=tmp_path / "cut", **RUN)
    assert (cut / "history.csv").read_text().count("\n") == 3
    assert_equal(medmamba.fit("phantoms:140", out=cut, resume=True, **RUN), whole)
