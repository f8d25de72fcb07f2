"""What is written after each epoch: the best weights so far, the history, and the state to resume from."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer
from torch import Tensor

from medmamba.backbone import Backbone
from medmamba.bundle import Bundle
from medmamba.training.checkpoint import save_checkpoint
from medmamba.training.config import TrainingError
from medmamba.training.history import Epoch, best_of, is_better, is_over, plot_curves, write_history
from medmamba.training.judging import Judge, Rows
from medmamba.training.module import Trainee

logger = logging.getLogger(__name__)


class Keeper(Callback):
    """Judges each epoch on the validation split and keeps what is worth keeping; only the first process writes.

    Attributes:
        history: The epochs that are finished, those before a resume included.
        rows: How the best of them fared on the validation images in each part of the task.
        seconds: Time spent training, that before a resume included.
    """

    def __init__(
        self,
        folder: Path,
        bundle: Bundle | Backbone,
        provenance: Mapping[str, Any],
        *,
        stored: Mapping[str, Any],
        judge: Judge,
        save_seconds: float = 0,
    ) -> None:
        """Prepare.

        Args:
            folder: Where the run is kept.
            bundle: What is trained.
            provenance: Where it comes from; what came of it is added.
            stored: More entries for `resume.ckpt`.
            judge: Of the answers for the validation split.
            save_seconds: An epoch that is neither the best nor the last is saved only if the last saving is so many
                seconds ago. The best always is: weights on disk never are of an epoch that a resume would forget.
        """
        self.folder = folder
        self.bundle = bundle
        self.provenance = provenance
        self.stored = stored
        self.judge = judge
        self.save_seconds = save_seconds
        self.history: list[Epoch] = []
        self.rows: Rows = []
        self.seconds = 0.0
        self._optimizer_state: dict[str, Any] | None = None
        self._scaler_state: dict[str, Any] | None = None
        self._since = self._saved = time.monotonic()

    def restore(self, state: Mapping[str, Any], module: Trainee) -> None:
        """Take up a run from what `save` wrote; the optimizer follows when Lightning has made it."""
        self.history[:] = [Epoch(**epoch) for epoch in state["history"]]
        self.rows = list(state.get("per_class", ()))
        self.seconds = state["seconds"]
        self._optimizer_state, self._scaler_state = state["optimizer"], state["scaler"]
        module.net.load_state_dict(state["net"])
        if module.average is not None:
            module.average.load_state_dict(state["average"])

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        self._since = time.monotonic()
        if self._optimizer_state is not None:
            trainer.optimizers[0].load_state_dict(self._optimizer_state)
        if self._scaler_state:
            trainer.precision_plugin.load_state_dict(self._scaler_state)
        if not self.history and trainer.is_global_zero:
            self.save(trainer, module)  # a run that is killed in its first epoch can be resumed too

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        epoch, rows = self._judge(module)
        better = is_better(epoch, best_of(self.history))
        self.rows = rows if better else self.rows
        self.history.append(epoch)
        self._log(module, epoch, better)
        over = is_over(self.history, module.recipe.epochs, module.recipe.patience)
        if trainer.is_global_zero:
            if better:
                self._described("not finished").save(self.folder, _single(module.best_net.state_dict()))
            write_history(self.folder / "history.csv", self.history)
            if better or over or time.monotonic() - self._saved >= self.save_seconds:
                self.save(trainer, module)
        if over:
            trainer.should_stop = True

    def _judge(self, module: Trainee) -> tuple[Epoch, Rows]:
        verdict = self.judge.judge(module.gather_logits(self.judge.n))
        if not np.isfinite(verdict.loss):
            raise TrainingError(f"the validation loss is {verdict.loss} after epoch {module.epoch + 1}")
        rate = module.trainer.optimizers[0].param_groups[0]["lr"]
        train_loss = module.loss_sum / module.seen
        settled = module.epoch >= module.recipe.choose_from * module.recipe.epochs
        return Epoch(module.epoch + 1, rate, module.seen, train_loss, verdict.loss, verdict.auc, settled), verdict.rows

    def _log(self, module: Trainee, epoch: Epoch, better: bool) -> None:
        if epoch.epoch == 1 and epoch.val_auc is None:
            logger.warning("the validation images define no AUC (a class is missing): the lowest loss decides")
        logger.info(
            "epoch %d/%d: %d images, loss %.4f, validation loss %.4f, validation AUC %s%s",
            epoch.epoch,
            module.recipe.epochs,
            epoch.images,
            epoch.train_loss,
            epoch.val_loss,
            "-" if epoch.val_auc is None else f"{epoch.val_auc:.4f}",
            ", the best so far" if better else "",
        )

    def save(self, trainer: Trainer, module: Trainee) -> None:
        """Write `resume.ckpt`."""
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        state = {
            **self.stored,
            "history": [asdict(epoch) for epoch in self.history],
            "per_class": self.rows,
            "seconds": self.seconds,
            "net": module.net.state_dict(),
            "average": None if module.average is None else module.average.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "scaler": trainer.precision_plugin.state_dict(),
        }
        save_checkpoint(self.folder, state)
        self._saved = time.monotonic()

    def finish(self, ended: str) -> None:
        """Complete the folder: why the run ended, and the curves; say how the kept epoch fared in each part of it."""
        self.seconds += time.monotonic() - self._since
        self.judge.tell(self.rows)
        self._described(ended).save_description(self.folder)
        plot_curves(self.folder / "curves.png", self.history)

    def _described(self, ended: str) -> Bundle | Backbone:
        best = best_of(self.history)
        assert best is not None
        outcome = {
            "best_epoch": best.epoch,
            "epochs": len(self.history),
            "validation": {
                "n": self.judge.n,
                "loss": best.val_loss,
                "auc": best.val_auc,
                self.judge.parts: self.rows,
            },
            "seconds": round(self.seconds, 1),
            "ended": ended,
        }
        return replace(self.bundle, provenance={**self.provenance, **outcome})


def _single(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they are kept: in float32, also those of a run in float64."""
    return {name: tensor.float() if tensor.dtype == torch.float64 else tensor for name, tensor in state.items()}
