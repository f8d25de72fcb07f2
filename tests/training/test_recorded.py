"""Steps replayed from a CUDA graph against steps as they are: on a card, and the logic around it without one."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from noise import SHORT, make_data

from medmamba.bundle import read_weights
from medmamba.training import fit, preparation, recorded
from medmamba.training.recorded import RecordedStep

OURS: dict[str, Any] = {"model": "medmamba_nano", "model_args": {"drop_path_rate": 0.2}, "augment": "none"}


def fake_record(call: Callable[[], object], stream: object) -> Callable[[], None]:
    """A graph that is replayed by calling again: as in a real one, what it gives lies at the same place each time."""
    step: RecordedStep = call.__self__  # type: ignore[attr-defined]
    call()
    gradients, output = [p.grad for p in step.net.parameters()], step._output

    def replay() -> None:
        call()
        for parameter, gradient in zip(step.net.parameters(), gradients, strict=True):
            assert gradient is not None
            gradient.copy_(parameter.grad)
            parameter.grad = gradient
        output.copy_(step._output)
        step._output = output

    return replay


@pytest.fixture
def fake_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SimpleNamespace(wait_stream=lambda other: None)
    names = {
        "Stream": lambda device: stream,
        "current_stream": lambda device: stream,
        "stream": lambda stream: nullcontext(),
        "get_rng_state": lambda device: torch.get_rng_state(),
        "set_rng_state": lambda state, device: torch.set_rng_state(state),
    }
    for name, value in names.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(recorded, "record", fake_record)


def runs(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[Path]:
    """The same run as it is and with recorded steps; 21 images in batches of 8, so that the last batch is another."""
    made = []
    for name, answer in (("plain", False), ("recorded", True)):
        monkeypatch.setattr(preparation, "may_be_recorded", lambda *arguments, answer=answer: answer)
        made.append(fit(make_data(21, 12), out=folder / name, config=SHORT, **{**OURS, **options}))
    return made


def check_same(plain: Path, other: Path) -> None:
    assert (plain / "history.csv").read_text() == (other / "history.csv").read_text()
    expected, actual = read_weights(plain), read_weights(other)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_recorded_steps_train_what_others_do(tmp_path, monkeypatch, fake_graphs) -> None:
    calls = []
    run = RecordedStep.run
    monkeypatch.setattr(RecordedStep, "run", lambda self, *batch: (calls.append(len(batch[0])), run(self, *batch))[1])
    check_same(*runs(tmp_path, monkeypatch))
    assert calls == [8, 8, 8, 8]  # two whole batches in each of two epochs


def test_a_step_that_cannot_be_recorded_is_done_as_it_is(tmp_path, monkeypatch, fake_graphs) -> None:
    def refuse(call: Callable[[], object], stream: object) -> None:
        call()
        raise RuntimeError("not recorded in a CUDA graph: of a reason")

    monkeypatch.setattr(recorded, "record", refuse)
    check_same(*runs(tmp_path, monkeypatch))
    log = (tmp_path / "recorded" / "log.txt").read_text()
    assert log.count("WARNING training steps are not recorded in a CUDA graph, and so slower: ") == 1
    assert "of a reason" in log


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"compile": True}, {"precision": "32"}], ids=str)
def test_recorded_steps_on_the_card(tmp_path, monkeypatch, options) -> None:
    plain, other = runs(tmp_path, monkeypatch, device="cuda", **options)
    assert "not recorded" not in (other / "log.txt").read_text()
    expected, actual = read_weights(plain), read_weights(other)
    for name in expected:  # kernels may be chosen anew
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-3, atol=1e-4, msg=name)
