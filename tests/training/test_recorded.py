"""Steps replayed from a CUDA graph against steps as they are: on a card, and the logic around it without one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_graphs
import pytest
import torch
from noise import SHORT, make_data

from medmamba.bundle import read_weights
from medmamba.training import fit, recorded, run
from medmamba.training.imbalance import CHOICES
from medmamba.training.recorded import RecordedStep

OURS: dict[str, Any] = {"model": "medmamba_nano", "model_args": {"drop_path_rate": 0.2}, "augment": "none"}


def runs(folder: Path, monkeypatch: pytest.MonkeyPatch, images: int = 21, **options: Any) -> list[Path]:
    """The same run as it is and with recorded steps; 21 images in batches of 8, so that the last batch is another."""
    made = []
    for name, answer in (("plain", False), ("recorded", True)):
        monkeypatch.setattr(run, "may_be_recorded", lambda *arguments, answer=answer: answer)
        made.append(fit(make_data(images, 8), out=folder / name, config=SHORT, **{**OURS, **options}))
    return made


def check_same(plain: Path, other: Path) -> None:
    assert (plain / "history.csv").read_text() == (other / "history.csv").read_text()
    expected, actual = read_weights(plain), read_weights(other)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def mixing(folder: Path) -> str:
    """A recipe with much mixup."""
    file = folder / "mixing.yaml"
    file.write_text("{lr: 0.01, mixup: 1.0}")
    return str(file)


@pytest.mark.parametrize("choice", ["none", "class-weights"])
def test_recorded_steps_train_what_others_do(tmp_path, monkeypatch, choice) -> None:
    fake_graphs.install(monkeypatch.setattr)
    calls, do = [], RecordedStep.run
    monkeypatch.setattr(RecordedStep, "run", lambda self, *batch: (calls.append(len(batch[0])), do(self, *batch))[1])
    check_same(*runs(tmp_path, monkeypatch, imbalance=choice))
    assert calls == [8, 8, 8, 8]  # two whole batches in each of two epochs


def test_each_replay_has_its_own_shares_of_mixup(tmp_path, monkeypatch) -> None:
    fake_graphs.install(monkeypatch.setattr)
    check_same(*runs(tmp_path, monkeypatch, recipe=mixing(tmp_path)))


def test_a_step_that_cannot_be_recorded_is_done_as_it_is(tmp_path, monkeypatch) -> None:
    def refuse(call: Callable[[], object], stream: object) -> None:
        call()
        raise RuntimeError("not recorded in a CUDA graph: of a reason")

    fake_graphs.install(monkeypatch.setattr)
    monkeypatch.setattr(recorded, "record", refuse)
    check_same(*runs(tmp_path, monkeypatch))
    log = (tmp_path / "recorded" / "log.txt").read_text()
    assert log.count("WARNING training steps are not recorded in a CUDA graph, and so slower: ") == 1
    assert "of a reason" in log


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "choice"), [("bf16-mixed", "none"), *(("32", choice) for choice in CHOICES)])
def test_recorded_steps_on_the_card(tmp_path, monkeypatch, precision, choice) -> None:
    """Bit for bit; without `deterministic` the gradients of convolutions in float32 do not repeat."""
    options = {"device": "cuda", "precision": precision, "deterministic": True, "imbalance": choice}
    plain, other = runs(tmp_path, monkeypatch, **options)
    assert "not recorded" not in (other / "log.txt").read_text()
    check_same(plain, other)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16-mixed", "32"])
def test_recorded_steps_with_mixup_on_the_card(tmp_path, monkeypatch, precision) -> None:
    options = {"device": "cuda", "precision": precision, "deterministic": True, "recipe": mixing(tmp_path)}
    plain, other = runs(tmp_path, monkeypatch, **options)
    assert "not recorded" not in (other / "log.txt").read_text()
    check_same(plain, other)


@pytest.mark.gpu
def test_recorded_steps_of_a_compiled_network_on_the_card(tmp_path, monkeypatch) -> None:
    small = {"model_args": {"depths": (1, 1), "widths": (32, 64)}}
    plain, other = runs(tmp_path, monkeypatch, 16, device="cuda", compile=True, **small)
    assert "not recorded" not in (other / "log.txt").read_text()
    expected, actual = read_weights(plain), read_weights(other)
    for name in expected:  # kernels may be chosen anew
        assert torch.allclose(actual[name], expected[name], rtol=1e-3, atol=1e-4), name
