"""`benchmarks/mixed_precision.py` on the processor: bfloat16 stays finite, and what is not finite would be seen."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from medmamba.training.module import Trainee

FEW = argparse.Namespace(model="medmamba_nano", steps=4, size=32, batch=6, seed=0, device="cpu")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("mixed_precision")


@pytest.mark.parametrize("kind", ["noise", "extreme"])
def test_f012_every_step_in_bfloat16_is_finite(script: ModuleType, kind: str) -> None:
    run = script.train(FEW, kind, "bf16-mixed")
    assert run["finite"], run
    assert (run["steps"], run["ended"]) == (4, "finished")
    assert 0 < run["loss"][0] <= run["loss"][1]
    assert 0 < run["gradient_norm"][0] <= run["gradient_norm"][1]


def test_a_number_that_is_not_finite_is_counted(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a running statistic and in a gradient; neither shows in the loss of its own step."""
    step = Trainee.training_step

    def broken(self: Trainee, batch: tuple[torch.Tensor, ...], index: int) -> torch.Tensor:
        loss = step(self, batch, index)  # type: ignore[arg-type]
        if index == 3:
            next(each for name, each in self.net.named_buffers() if name.endswith("running_var")).data[0] = torch.inf
            loss.register_hook(lambda gradient: gradient * torch.nan)
        return loss

    monkeypatch.setattr(Trainee, "training_step", broken)
    run = script.train(FEW, "noise", "bf16-mixed")
    assert not run["finite"]
    assert run["not_finite"]["running_statistics"] == run["not_finite"]["gradient_norms_of_steps_made"] == 1


def test_the_extreme_pictures_are_six_kinds(script: ModuleType) -> None:
    import numpy as np

    pictures = script.extreme(np.random.default_rng(0), 12, 16)
    assert [int(picture.max()) - int(picture.min()) for picture in pictures[:4]] == [0, 0, 255, 255]
    assert all(len(np.unique(picture.reshape(-1, 3), axis=0)) == 1 for picture in pictures[[0, 1, 4, 6, 7, 10]])
