"""Inference, training step, its memory, and latency of one model in every mode."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba.benchmark.plan import ONNX, Plan
from medmamba.benchmark.timing import Call, Spread, measure, release, spread
from medmamba.errors import one_line
from medmamba.network import for_inference, mend_inductor

logger = logging.getLogger(__name__)

CLASSES = 1000
CHANNELS = 3
RUNS = 3  # a model and mode: inference, latency, training


@dataclass(frozen=True)
class Measurement:
    """One figure of one model in one mode.

    Attributes:
        model: Its name.
        mode: Of `medmamba.benchmark.MODES`.
        quantity: A key of `medmamba.benchmark.summary.QUANTITIES`.
        batch: Images at once.
        spread: In the unit of the quantity; None if there is none.
        graph_breaks: Of what `torch.compile` made; None where it was not used.
        error: Why there is no figure, in one line.
    """

    model: str
    mode: str
    quantity: str
    batch: int
    spread: Spread | None
    graph_breaks: int | None = None
    error: str | None = None


@dataclass
class Subject:
    """A network on the device, and its compiled form, which the modes `compile` and `compile+graph` share."""

    net: nn.Module
    compiled: Callable[[Tensor], Tensor] | None = None
    breaks: dict[int, int] = field(default_factory=dict)  # by batch size: each is compiled for itself
    exported: Callable[[Tensor], Tensor] | None = None

    def function(self, mode: str, plan: Plan) -> Callable[[Tensor], Tensor]:
        """Images to logits in a mode."""
        if mode == ONNX:
            self.exported = self.exported or _export(self.net, plan)
            return self.exported
        if not mode.startswith("compile"):
            return self.net
        if self.compiled is None:
            mend_inductor()
            self.compiled = torch.compile(self.net, dynamic=False)
        return self.compiled


def measure_model(name: str, model: nn.Module, plan: Plan, advance: Callable[[], None]) -> list[Measurement]:
    """All figures of a model.

    Args:
        name: Of the model.
        model: On the CPU; copies of it are measured.
        plan: How.
        advance: Called after each of `RUNS` runs of each mode.
    """
    return [*_inference(name, model, plan, advance), *_training(name, model, plan, advance)]


def _inference(name: str, model: nn.Module, plan: Plan, advance: Callable[[], None]) -> list[Measurement]:
    subject = Subject(for_inference(copy.deepcopy(model).eval().to(plan.device)))  # as `predict` runs it
    found = []
    for mode in plan.modes:
        for quantity, batch in (("inference", plan.batch_size), ("latency", 1)):
            blank = Measurement(name, mode, quantity, batch, None)
            found += _attempt(blank, subject, plan)
            advance()
    del subject
    _forget(plan)
    return found


def _training(name: str, model: nn.Module, plan: Plan, advance: Callable[[], None]) -> list[Measurement]:
    subject = Subject(copy.deepcopy(model).train().to(plan.device).to(memory_format=torch.channels_last))
    found = []
    for mode in plan.modes:
        if mode != ONNX:  # which does not train
            found += _attempt(Measurement(name, mode, "training", plan.batch_size, None), subject, plan)
        advance()
    del subject
    _forget(plan)
    return found


def _export(net: nn.Module, plan: Plan) -> Callable[[Tensor], Tensor]:
    """What `medmamba export` would write of a network, in onnxruntime."""
    from medmamba.export.program import as_onnx, trace
    from medmamba.predictor.onnx_file import INPUT, open_session

    program = trace(net, _images(plan, 2), type(net).__name__)
    session = open_session(as_onnx(program, {}), "the exported network")

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT: images.contiguous().numpy()})[0])

    return run


def _attempt(blank: Measurement, subject: Subject, plan: Plan) -> list[Measurement]:
    """The figures of one run, or the reason why there are none."""
    try:
        found = _run(blank, subject, plan)
    except Exception as reason:  # whatever a compiler, a driver or a full memory raises, the others go on
        error = one_line(reason)
        logger.warning("%s, %s, %s failed: %s", blank.model, blank.mode, blank.quantity, error)
        found = [replace(blank, error=error)]
    subject.net.zero_grad(set_to_none=True)
    release(plan.device)  # out here, where the error and all that its frames hold are gone
    return found


def _run(blank: Measurement, subject: Subject, plan: Plan) -> list[Measurement]:
    training, batch = blank.quantity == "training", blank.batch
    graph = "graph" in blank.mode
    before = _graph_breaks() if blank.mode.startswith("compile") else 0
    function = subject.function(blank.mode, plan)
    call = training_step(subject.net, function, plan, capturable=graph) if training else forward(function, plan, batch)
    measured = measure(call, plan.device, seconds=plan.seconds, graph=graph, one_at_a_time=blank.quantity == "latency")
    if blank.mode.startswith("compile"):
        # the second of the two modes finds all compiled and counts none
        subject.breaks[batch] = max(subject.breaks.get(batch, 0), _graph_breaks() - before)
        blank = replace(blank, graph_breaks=subject.breaks[batch])
    if blank.quantity == "latency":
        return [replace(blank, spread=spread(measured.times))]
    found = [replace(blank, spread=spread([batch * 1000 / ms for ms in measured.times]))]
    if training and measured.peak_bytes is not None:
        found.append(replace(blank, quantity="memory", spread=spread([measured.peak_bytes / 1e9])))
    return found


def forward(function: Callable[[Tensor], Tensor], plan: Plan, batch: int) -> Call:
    """What computes the logits of one batch of random images."""
    images = _images(plan, batch)

    def call() -> Tensor:
        with torch.inference_mode(), plan.autocast():
            return function(images)

    return call


def training_step(net: nn.Module, function: Callable[[Tensor], Tensor], plan: Plan, *, capturable: bool) -> Call:
    """What takes one step of AdamW on one batch of random images with random labels.

    The first thing a step does is to drop the gradients. Recorded in a CUDA graph, that makes the backward allocate
    them in the graph's own memory, so that a replay overwrites and does not add up.
    """
    images = _images(plan, plan.batch_size)
    labels = torch.randint(CLASSES, (plan.batch_size,), device=plan.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.05, fused=True, capturable=capturable)
    scaler = torch.amp.GradScaler(plan.device.type, enabled=plan.dtype is torch.float16)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        with plan.autocast():
            loss = F.cross_entropy(function(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return call


def _images(plan: Plan, batch: int) -> Tensor:
    """Noise as 8-bit pixels would be after normalisation, (b, 3, H, W), channels-last in memory."""
    pixels = torch.randint(256, (batch, CHANNELS, *plan.image_size), device=plan.device)
    return ((pixels / 255 - 0.5) / 0.25).to(memory_format=torch.channels_last)


def _graph_breaks() -> int:
    """Since this process began."""
    from torch._dynamo.utils import counters

    return sum(counters["graph_break"].values())


def _forget(plan: Plan) -> None:
    """Drop what was compiled for the last network, whose memory it holds."""
    if any(mode.startswith("compile") for mode in plan.modes):
        torch._dynamo.reset()
    release(plan.device)
