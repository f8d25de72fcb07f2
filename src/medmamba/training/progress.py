"""The progress bar of training: epoch, loss, validation AUC, remaining time, on standard error."""

from __future__ import annotations

import time
from typing import Any

from lightning import Callback, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from medmamba.training.history import Epoch
from medmamba.training.module import Trainee


class ProgressBar(Callback):
    """Shown where standard error is a terminal; elsewhere the log's line an epoch has to do."""

    def __init__(self, history: list[Epoch]) -> None:
        self.history = history
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]}  validation AUC {task.fields[auc]}  {task.fields[left]} left"),
            console=Console(stderr=True),
            transient=True,
        )
        self.began, self.begun_at = 0.0, 0

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        steps, epochs = len(module.sizes), module.recipe.epochs
        self.begun_at = module.first_epoch * steps
        self.began = time.monotonic()
        self.task = self.bar.add_task("", total=epochs * steps, completed=self.begun_at, **self._fields(module))
        if trainer.is_global_zero and self.bar.console.is_terminal:
            self.bar.start()

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        done = module.epoch * len(module.sizes) + (batch_idx + 1) // module.parts
        self.bar.update(self.task, completed=done, **self._fields(module, done))

    def on_train_end(self, trainer: Trainer, module: Any) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, module: Any, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.bar.live.is_started:  # else rich would print an empty line
            self.bar.stop()

    def _fields(self, module: Trainee, done: int = 0) -> dict[str, Any]:
        last = self.history[-1] if self.history else None
        return {
            "epoch": f"{module.epoch + 1}/{module.recipe.epochs}",
            "loss": f"{module.loss_sum / module.seen:.3f}" if module.seen else "-",
            "auc": "-" if last is None or last.val_auc is None else f"{last.val_auc:.3f}",
            "left": self._left(module, done),
        }

    def _left(self, module: Trainee, done: int) -> str:
        """Remaining time at the mean pace since the start, validation included."""
        if done <= self.begun_at:
            return "-:--"
        pace = (time.monotonic() - self.began) / (done - self.begun_at)
        seconds = round(pace * (module.recipe.epochs * len(module.sizes) - done))
        return in_clock(seconds)


def in_clock(seconds: float) -> str:
    """`4:05`, or `1:02:03` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
