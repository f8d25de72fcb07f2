"""Lightning's trainer as a run needs it, and as quiet as one wants it."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data._utils import signal_handling

from medmamba.training.config import TrainConfig
from medmamba.training.failures import told_to_end


class Copies(DDPStrategy):
    """Processes that each train a copy of the network; the module averages the gradients itself.

    DDP exchanges gradients while the backward goes on, from hooks that would be recorded with a step.
    """

    def configure_ddp(self) -> None:
        """Begin with the same tensors everywhere; nothing is wrapped."""
        assert self.model is not None
        for tensor in self.model.state_dict().values():
            dist.broadcast(tensor, 0)


def make_trainer(
    config: TrainConfig, device: torch.device, precision: str, *, epochs: int, folder: Path, recorded: bool = False
) -> Trainer:
    """A trainer that does what the run asks for and nothing else: no logger, checkpoint, sampler or bar of its own.

    Args:
        config: Processes, nodes, parts of a batch and determinism.
        device: Where each process computes.
        precision: Lightning's name of it.
        epochs: How many are left.
        folder: Of the run.
        recorded: Whether steps are recorded in a CUDA graph.
    """
    devices: int | list[int] = config.devices
    if device.type == "cuda" and device.index is not None:
        devices = [device.index]
    several = config.devices * config.nodes > 1
    # Buffers are not sent around before each forward pass: those of batch normalisation are synchronised, or averaged
    # after each epoch, and processes may have unequal numbers of validation batches. Gradients lie in the buckets that
    # are summed, which spares a copy.
    strategy: Any = "auto"
    if several:
        strategy = Copies() if recorded else DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)
    trainer = Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=devices,
        num_nodes=config.nodes,
        strategy=strategy,
        precision=precision,  # type: ignore[arg-type]
        max_epochs=epochs,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic=config.deterministic or None,
        accumulate_grad_batches=config.accumulate,
    )
    if several:
        end_together(trainer)
    return trainer


def end_together(trainer: Trainer) -> None:
    """Let all processes end at the same step when one of them is told to (SIGTERM): they ask each other before each.

    They ask over the processors. Lightning asks over the GPUs, and so waits before each step until these have done all
    their work (Lightning-AI/pytorch-lightning#21487), and it hears the first process alone.
    """
    told, group = torch.zeros(1, dtype=torch.int64), None

    def note(number: int, frame: object) -> None:
        told.fill_(1)

    def ask() -> None:
        nonlocal group
        group = group or dist.new_group(backend="gloo")
        anyone = told.clone()
        dist.all_reduce(anyone, op=dist.ReduceOp.MAX, group=group)  # type: ignore[arg-type]
        if anyone.item():
            raise SIGTERMException

    trainer._signal_connector._sigterm_notifier_fn = note  # type: ignore[method-assign, assignment]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = ask  # type: ignore[method-assign]


def run_trainer(trainer: Trainer, module: LightningModule, train: Any, val: Any) -> str:
    """Train, and say in words what ended it: its own end, Ctrl-C or SIGTERM.

    Lightning answers Ctrl-C by ending the whole program and leaves it deaf to further ones; both are undone here.
    """
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, train, val)
        return "finished"
    except SIGTERMException:
        return "stopped by SIGTERM"
    except RuntimeError as reason:
        if not told_to_end(reason, trainer.received_sigterm):
            raise
        return "stopped by SIGTERM"
    except (KeyboardInterrupt, SystemExit):
        return "stopped by Ctrl-C"
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def said_once() -> Iterator[None]:
    """Inside the block torch says once that a process which reads images was killed, not again for each further one.

    It raises wherever this process is when it hears of it (SIGCHLD). Where a whole job is told to end, such processes
    end one after the other, also while the first is being dealt with and the run is made ready to go on.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    signal_handling._set_SIGCHLD_handler()  # torch does so with its first loader of the process, and never again
    handler, said = signal.getsignal(signal.SIGCHLD), False

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal said
        if said or not callable(handler):
            return
        try:
            handler(number, frame)
        except RuntimeError:
            said = True
            raise

    signal.signal(signal.SIGCHLD, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's tips and its advice on workers; its warnings that concern the run are logged by us."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            # torch's remarks on the speed of DDP, which nobody who trains can act on
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream does not match")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def determinism_restored() -> Iterator[None]:
    """Afterwards torch is as strict about deterministic operators as before; Lightning changes it for the process."""
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
