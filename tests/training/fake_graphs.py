"""CUDA graphs without a card: what is recorded is called again."""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch

from medmamba.training import recorded, run
from medmamba.training.recorded import RecordedStep


def record(call: Callable[[], object], stream: object) -> Callable[[], None]:
    """As a real graph, it leaves what it gives at the same place each time."""
    step: RecordedStep = call.__self__  # type: ignore[attr-defined]
    call()
    gradients, output = [p.grad for p in step.net.parameters()], step._output

    def replay() -> None:
        call()
        for parameter, gradient in zip(step.net.parameters(), gradients, strict=True):
            assert gradient is not None
            assert parameter.grad is not None
            gradient.copy_(parameter.grad)
            parameter.grad = gradient
        output.copy_(step._output)
        step._output = output

    return replay


def install(setattr: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let steps on the CPU be recorded so."""
    stream = SimpleNamespace(wait_stream=lambda other: None)
    names = {
        "Stream": lambda device: stream,
        "current_stream": lambda device: stream,
        "stream": lambda stream: nullcontext(),
        "get_rng_state": lambda device: torch.get_rng_state(),
        "set_rng_state": lambda state, device: torch.set_rng_state(state),
    }
    for name, value in names.items():
        setattr(torch.cuda, name, value)
    setattr(recorded, "record", record)
    setattr(run, "may_be_recorded", lambda *arguments: True)
