"""One step of training and of validation, as Lightning calls them."""

from __future__ import annotations

from typing import Any

import lightning
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from medmamba.data.preprocessing import Preprocessing
from medmamba.training import ema
from medmamba.training.batchnorm import average_running_statistics
from medmamba.training.config import DivergedError
from medmamba.training.loader import Batch
from medmamba.training.mixup import draw_shares, mixed, mixed_loss
from medmamba.training.order import EpochBatches
from medmamba.training.recipe import Recipe, learning_rate
from medmamba.training.recorded import RecordedStep, average_gradients
from medmamba.training.seeds import STEP, seed_for

_CHECK = 50  # steps between two looks at the loss on a GPU: each look waits until the GPU has done all its work


class Trainee(lightning.LightningModule):
    """A network in training, with its moving average where the recipe has one.

    Attributes:
        net: The network, (b, c, h, w) -> logits (b, classes).
        average: Its moving average, or None.
        sizes: Images in each batch of an epoch over all processes and parts.
        parts: In how many parts a batch is computed; Lightning calls each a batch, and steps after the last.
        first_epoch: Epochs that were finished before this process began.
        loss_sum: Of the images of this epoch whose loss was looked at, of all processes; `seen` is their number. On a
            GPU they lag some steps behind until the epoch ends.
        answers: (indices, logits) of this process's part of the validation split.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        recipe: Recipe,
        training_loss: nn.Module,
        preprocessing: Preprocessing,
        order: EpochBatches,
        seed: int,
        recorded: bool = False,
    ) -> None:
        """Prepare.

        Args:
            net: What is trained.
            recipe: How.
            training_loss: What is minimised, its mean over the images: (logits, targets) -> (b,).
            preprocessing: Of its images.
            order: The batches of an epoch.
            seed: Of the run.
            recorded: Record the steps of whole batches in a CUDA graph; of several processes each has its own, and
                gradients are averaged here. Not with parts or loss scaling.
        """
        super().__init__()
        self.net = net
        self.average = ema.averaged_copy(net) if recipe.ema is not None else None
        self.recipe = recipe
        self.training_loss = training_loss
        self.preprocessing = preprocessing
        self.order = order
        self.sizes, self.parts = order.sizes, order.parts
        self.seed = seed
        self.first_epoch = order.epoch
        self.loss_sum, self.seen = 0.0, 0
        self.answers: list[tuple[np.ndarray, np.ndarray]] = []
        self._recorded = None
        if recorded:
            mine, share = len(range(order.rank, order.sizes[0], order.processes)), order.processes / order.sizes[0]
            self._recorded = RecordedStep(net, self._batch_losses, size=mine, share=share)
        self._replayed = False  # in the step that is being made
        self._shares: Tensor | None = None  # of mixup, (batches of the epoch, images)
        self._losses: list[Tensor] = []  # of the steps that were not looked at yet
        self._outputs: list[tuple[Tensor, Tensor]] = []

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
        self._losses = []
        if self.recipe.mixup:
            # those of all steps at once: a step then has nothing to send to the GPU, for which it would wait
            place = {"seed": self.seed, "epoch": self.epoch, "rank": self.global_rank}
            shares = draw_shares(self.recipe.mixup, len(self.order), max(self.sizes), **place)
            self._shares = shares.to(self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # drop path and dropout draw from the global generator: what they get depends on the place in the run alone
        torch.manual_seed(seed_for(STEP, self.seed, self.epoch, batch_idx, self.global_rank))
        rate = learning_rate(self.recipe, self.epoch, batch_idx // self.parts, len(self.sizes))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        pixels, targets, _ = batch
        given = (pixels, targets) if self._shares is None else (pixels, targets, self._shares[batch_idx, : len(pixels)])
        losses, self._replayed = None, False
        if self._recorded is not None and self._recorded.takes(pixels):
            losses = self._recorded.run(*given)
            self._replayed = losses is not None
        if losses is None:
            losses = self._batch_losses(*given)
        self._note(losses.detach().sum(), batch_idx)
        # DDP takes the mean of the processes' gradients, and Lightning that of the parts'; with this factor it is that
        # of the mean over all images of the batch, also where the processes or parts have unequal shares
        return losses.sum() * (self.trainer.world_size * self.parts / self.sizes[batch_idx // self.parts])

    def _batch_losses(self, pixels: Tensor, targets: Tensor, shares: Tensor | None = None) -> Tensor:
        x = self.preprocessing.normalise(pixels)
        if shares is None:
            return self.training_loss(_logits(self.net, x), targets)
        return mixed_loss(self.training_loss, _logits(self.net, mixed(x, shares)), targets, shares)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        if not self._replayed:
            optimizer.zero_grad()

    def backward(self, loss: Tensor, *arguments: Any, **options: Any) -> None:
        if not self._replayed:  # a replayed step was one with its backward
            loss.backward(*arguments, **options)

    def on_after_backward(self) -> None:
        if self._recorded is not None and self.trainer.world_size > 1:
            average_gradients(self.net)

    def _note(self, loss_sum: Tensor, batch_idx: int) -> None:
        self._losses.append(loss_sum)
        step, part = divmod(batch_idx, self.parts)
        if part + 1 < self.parts:
            return
        waiting = len(self._losses) // self.parts
        if self.device.type == "cpu" or waiting == _CHECK or step + 1 == len(self.sizes):
            self._look_at_losses(first=step + 1 - waiting)

    def _look_at_losses(self, first: int) -> None:
        """Add up the losses of the steps from `first` on, and stop the run at one that is not finite."""
        losses = torch.stack(self._losses).view(-1, self.parts)
        if self.trainer.world_size > 1:
            dist.all_reduce(losses)  # all processes stop together, or none
        self._losses = []
        for step, values in enumerate(losses.tolist(), start=first):
            if not np.isfinite(values).all():
                number = self.epoch * len(self.sizes) + step + 1
                raise DivergedError(f"the training loss is {sum(values)} at step {number} (epoch {self.epoch + 1})")
            self.loss_sum += sum(values)
            self.seen += self.sizes[step]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        step, part = divmod(batch_idx, self.parts)
        if self.average is not None and part + 1 == self.parts:
            assert self.recipe.ema is not None
            ema.update(self.average, self.net, self.recipe.ema, self.epoch * len(self.sizes) + step)

    def on_validation_start(self) -> None:
        if self.trainer.world_size > 1:
            for net in (self.net, self.average):
                if net is not None:
                    average_running_statistics(net)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        pixels, _, indices = batch
        logits = _logits(self.best_net, self.preprocessing.normalise(pixels))
        self._outputs.append((indices, logits))

    def on_validation_epoch_end(self) -> None:
        # only now: to fetch the answers of a batch would be to wait for it
        self.answers = [(rows.cpu().numpy(), logits.double().cpu().numpy()) for rows, logits in self._outputs]
        self._outputs = []

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


def _logits(net: nn.Module, x: Tensor) -> Tensor:
    """Of normalised images, in whatever precision the network has."""
    return net(x.to(next(net.parameters()).dtype))


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
