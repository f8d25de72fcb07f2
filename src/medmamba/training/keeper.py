"""What is written after each epoch: the state to resume from, the best weights so far, and the history."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import Callback, Trainer
from torch import Tensor

from medmamba.backbone import Backbone, load_start
from medmamba.bundle import Bundle, read_weights
from medmamba.errors import InputError
from medmamba.training.checkpoint import save_checkpoint
from medmamba.training.config import DivergedError, TrainingError
from medmamba.training.failures import writing_explained
from medmamba.training.history import Epoch, best_of, is_better, is_over, plot_curves, write_history
from medmamba.training.judging import Judge, Rows
from medmamba.training.module import Trainee

logger = logging.getLogger(__name__)

HISTORY = "history.csv"
UNFINISHED = "not finished"


class Best(NamedTuple):
    """The best epoch so far: how it fared in each part of the task, and its weights, on the CPU."""

    epoch: Epoch
    rows: Rows
    weights: dict[str, Tensor]


class Keeper(Callback):
    """Judges each epoch on the validation split and keeps what is worth keeping; only the first process writes.

    An epoch is finished when it is in `resume.ckpt`, which holds the best weights too. The bundle follows, then the
    history. So whenever a run is killed, a resume brings all of them to the same epoch, and neither file ever tells of
    an epoch that would be made again in another way.

    Attributes:
        history: The epochs that are finished, those before a resume included.
        kept: The epoch whose weights are in the bundle; None as long as there is none.
        saved: Number of the epoch after which a resume goes on; None where there is nothing to resume.
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
        self.kept: Epoch | None = None
        self.saved: int | None = None
        self.seconds = 0.0
        self._best: Best | None = None
        self._optimizer_state: dict[str, Any] | None = None
        self._scaler_state: dict[str, Any] | None = None
        self._since = self._saved_at = time.monotonic()

    def restore(self, state: Mapping[str, Any], module: Trainee) -> None:
        """Take up a run from what `save` wrote; the optimizer follows when Lightning has made it."""
        self.history[:] = [Epoch(**epoch) for epoch in state["history"]]
        self.saved = len(self.history)
        self.seconds = state["seconds"]
        self._optimizer_state, self._scaler_state = state["optimizer"], state["scaler"]
        module.net.load_state_dict(state["net"])
        if module.average is not None:
            module.average.load_state_dict(state["average"])
        if (best := best_of(self.history)) is None:
            return
        if best == self.history[-1]:
            weights = _single(module.best_net.state_dict())
        else:  # a state of before there was the entry relies on the bundle
            weights = state["best"] if "best" in state else read_weights(self.folder)
        self._best, self.kept = Best(best, list(state.get("per_class", ())), weights), best

    def mend(self) -> int:
        """Bring bundle and history to the epoch that was restored, and tell how many epochs beyond it they knew.

        Raises:
            TrainingError: They could not be written.
        """
        table = self.folder / HISTORY
        told = len(table.read_text(errors="replace").splitlines()) - 1 if table.is_file() else 0
        beyond = max(0, told - len(self.history))
        if self._best is None:
            return beyond
        with writing_explained(self.folder, "what was kept of the run"):
            self._described(UNFINISHED).save(self.folder, self._best.weights)
            write_history(table, self.history)
        return beyond

    def is_complete(self) -> bool:
        """Whether the bundle is that of a run that has come to its end."""
        try:
            known = load_start(self.folder).provenance
        except InputError:
            return False
        return known.get("epochs") == len(self.history) and known.get("ended", UNFINISHED).startswith("finished")

    def write_card(self) -> None:
        """Write the card of the bundle that is there, before which a run may have been killed."""
        with writing_explained(self.folder, "the card"):
            load_start(self.folder).save_description(self.folder)

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        self._since = time.monotonic()
        if self._optimizer_state is not None:
            trainer.optimizers[0].load_state_dict(self._optimizer_state)
        if self._scaler_state:
            trainer.precision_plugin.load_state_dict(self._scaler_state)
        self._optimizer_state = self._scaler_state = None  # they need not stay beside what was made of them
        if self.saved is None:
            self._save_together(trainer, module, False, True)  # a run killed in its first epoch can be resumed too

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        epoch, rows = self._judge(module)
        better = is_better(epoch, best_of(self.history))
        self.history.append(epoch)
        if better:
            weights = _single(module.best_net.state_dict()) if trainer.is_global_zero else {}
            self._best = Best(epoch, rows, weights)
        over = is_over(self.history, module.recipe.epochs, module.recipe.patience)
        due = better or over or time.monotonic() - self._saved_at >= self.save_seconds
        self._save_together(trainer, module, better, due)
        self._log(module, epoch, better)
        if over:
            trainer.should_stop = True

    def _save_together(self, trainer: Trainer, module: Trainee, better: bool, due: bool) -> None:
        """Save, and let all processes end where the first one could not."""
        failure = None
        try:
            if trainer.is_global_zero:
                self.save(trainer, module, better, due)
        except TrainingError as reason:
            failure = str(reason)
        if failure := trainer.strategy.broadcast(failure):
            raise TrainingError(failure)

    def _judge(self, module: Trainee) -> tuple[Epoch, Rows]:
        verdict = self.judge.judge(module.gather_logits(self.judge.n))
        if not np.isfinite(verdict.loss):
            raise DivergedError(f"the validation loss is {verdict.loss} after epoch {module.epoch + 1}")
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

    def save(self, trainer: Trainer, module: Trainee, better: bool = False, due: bool = True) -> None:
        """Write what the last epoch calls for: the state if it is due, the bundle if it is better, the history.

        Raises:
            TrainingError: One of them could not be written; the others were, if that was possible.
        """
        failure = None
        try:
            if due:
                self._save_state(trainer, module)
        except TrainingError as reason:  # the weights are smaller, and the disk may have room for them
            failure = reason
        if better:
            assert self._best is not None
            with writing_explained(self.folder, "the best weights"):
                self._described(UNFINISHED).save(self.folder, self._best.weights)
            self.kept = self._best.epoch
        if self.history:
            with writing_explained(self.folder, HISTORY):
                write_history(self.folder / HISTORY, self.history)
        if failure:
            raise failure

    def _save_state(self, trainer: Trainer, module: Trainee) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        state = {
            **self.stored,
            "history": [asdict(epoch) for epoch in self.history],
            "per_class": self._best.rows if self._best else [],
            # that of the last epoch is the network's or the average's
            "best": self._best.weights if self._best and self._best.epoch != self.history[-1] else None,
            "seconds": self.seconds,
            "net": module.net.state_dict(),
            "average": None if module.average is None else module.average.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "scaler": trainer.precision_plugin.state_dict(),
        }
        with writing_explained(self.folder, "what a resume needs"):
            save_checkpoint(self.folder, state)
        self.saved = len(self.history)
        self._saved_at = time.monotonic()

    def finish(self, ended: str) -> None:
        """Complete the folder: why the run ended, and the curves; say how the kept epoch fared in each part of it.

        Raises:
            TrainingError: It could not be written.
        """
        assert self._best is not None
        self.seconds += time.monotonic() - self._since
        self.judge.tell(self._best.rows)
        with writing_explained(self.folder, "how the run ended"):
            plot_curves(self.folder / "curves.png", self.history)
            if self.kept == self._best.epoch:  # else the description there is that of the weights there
                self._described(ended).save_description(self.folder)  # the last: it says that all is there

    def _described(self, ended: str) -> Bundle | Backbone:
        assert self._best is not None
        best = self._best.epoch
        outcome = {
            "best_epoch": best.epoch,
            "epochs": len(self.history),
            "validation": {
                "n": self.judge.n,
                "loss": best.val_loss,
                "auc": best.val_auc,
                self.judge.parts: self._best.rows,
            },
            "seconds": round(self.seconds, 1),
            "ended": ended,
        }
        return replace(self.bundle, provenance={**self.provenance, **outcome})


def _single(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of weights as they are kept: on the CPU, in float32, also those of a run in float64."""
    copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
    return {name: copy.float() if copy.dtype == torch.float64 else copy for name, copy in copies.items()}
