"""One step of training and of validation, as Lightning calls them."""

from __future__ import annotations

from typing import Any

import lightning
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from medmamba.data.preprocessing import Preprocessing
from medmamba.tasks import Task, loss
from medmamba.training import ema
from medmamba.training.config import TrainingError
from medmamba.training.loader import Batch, EpochBatches
from medmamba.training.recipe import Recipe, learning_rate
from medmamba.training.seeds import STEP, seed_for


class Trainee(lightning.LightningModule):
    """A network in training, with its moving average where the recipe has one.

    Attributes:
        net: The network, (b, c, h, w) -> logits (b, classes).
        average: Its moving average, or None.
        sizes: Images in each batch of an epoch over all processes.
        first_epoch: Epochs that were finished before this process began.
        loss_sum: Of the images seen in this epoch by all processes; `seen` is their number.
        answers: (indices, logits) of this process's part of the validation split.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        recipe: Recipe,
        task: Task,
        preprocessing: Preprocessing,
        order: EpochBatches,
        seed: int,
    ) -> None:
        super().__init__()
        self.net = net
        self.average = ema.averaged_copy(net) if recipe.ema is not None else None
        self.recipe = recipe
        self.task = task
        self.preprocessing = preprocessing
        self.order = order
        self.sizes = order.sizes
        self.seed = seed
        self.first_epoch = order.epoch
        self.loss_sum, self.seen = 0.0, 0
        self.answers: list[tuple[np.ndarray, np.ndarray]] = []

    @property
    def best_net(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        return self.net if self.average is None else self.average

    @property
    def epoch(self) -> int:
        """From 0, over the whole run and not only since a resume."""
        return self.first_epoch + self.current_epoch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW of the recipe."""
        recipe = self.recipe
        groups = parameter_groups(self.net, recipe.weight_decay)
        fused = self.device.type in ("cpu", "cuda")  # one kernel for all parameters, where torch has it
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=fused)

    def on_train_epoch_start(self) -> None:
        # Lightning tells samplers the epoch, but not batch samplers; it asks for the batches only after this
        self.order.epoch = self.epoch
        self.loss_sum, self.seen = 0.0, 0
        self.answers = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # drop path and dropout draw from the global generator: what they get depends on the place in the run alone
        torch.manual_seed(seed_for(STEP, self.seed, self.epoch, batch_idx, self.global_rank))
        rate = learning_rate(self.recipe, self.epoch, batch_idx, len(self.sizes))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        pixels, targets, _ = batch
        losses = loss(self.task, self._logits(self.net, pixels), targets, label_smoothing=self.recipe.label_smoothing)
        self._note(losses.detach().sum(), batch_idx)
        # DDP takes the mean of the processes' gradients; with this factor it is that of the mean over all images, also
        # where the processes have unequal shares of the batch
        return losses.sum() * (self.trainer.world_size / self.sizes[batch_idx])

    def _note(self, loss_sum: Tensor, batch_idx: int) -> None:
        if self.trainer.world_size > 1:
            dist.all_reduce(loss_sum)  # all processes stop together, or none
        value = float(loss_sum)
        if not np.isfinite(value):
            step = self.epoch * len(self.sizes) + batch_idx + 1
            raise TrainingError(f"the training loss is {value} at step {step} (epoch {self.epoch + 1})")
        self.loss_sum += value
        self.seen += self.sizes[batch_idx]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.average is not None:
            step = self.epoch * len(self.sizes) + batch_idx
            assert self.recipe.ema is not None
            ema.update(self.average, self.net, self.recipe.ema, step)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        pixels, _, indices = batch
        logits = self._logits(self.best_net, pixels)
        self.answers.append((indices.cpu().numpy(), logits.double().cpu().numpy()))

    def _logits(self, net: nn.Module, pixels: Tensor) -> Tensor:
        x = self.preprocessing.normalise(pixels)
        return net(x.to(next(net.parameters()).dtype))

    def gather_logits(self, n: int) -> Tensor:
        """Logits of the whole validation split on every process, (n, classes), float64: each image exactly once."""
        parts = [self.answers]
        if self.trainer.world_size > 1:
            parts = [[] for _ in range(self.trainer.world_size)]
            dist.all_gather_object(parts, self.answers)
        answers = [answer for part in parts for answer in part]
        indices = np.concatenate([rows for rows, _ in answers])
        if not np.array_equal(np.sort(indices), np.arange(n)):
            raise RuntimeError(f"{n} validation images, but answers for {len(indices)}, {len(set(indices))} different")
        logits = np.empty((n, answers[0][1].shape[1]))
        logits[indices] = np.concatenate([values for _, values in answers])
        return torch.from_numpy(logits)


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay; norms, biases and what the model names are without."""
    names = set(net.no_weight_decay()) if hasattr(net, "no_weight_decay") else set()  # type: ignore[operator]
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            spared = parameter.ndim <= 1 or name in names or name.rpartition(".")[2] in names
            (plain if spared else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
