"""Training steps recorded in a CUDA graph: the processor starts one thing a step, where it started thousands."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medmamba.network import record

logger = logging.getLogger(__name__)

WARM_UP = 3  # PyTorch's advice before a recording
Losses = Callable[..., Tensor]


class RecordedStep:
    """Forward, loss and backward of one batch size, recorded with the first batch of that size and replayed after.

    A replay is what the step would be, bit for bit: the random numbers of drop path and dropout follow the seed that is
    set before each step, and batch normalisation counts the batch. Gradients lie in the memory of the graph, so that a
    replay overwrites them: nothing has to set them to zero before.

    Attributes:
        size: Images of a batch that is recorded; others are for the caller to compute.
        failed: Whether the step cannot be recorded; the log says why.
    """

    def __init__(self, net: nn.Module, losses: Losses, *, size: int, share: float) -> None:
        """Prepare.

        Args:
            net: What is trained.
            losses: Of a batch, as `run` is given it, through `net`: (b,).
            size: Images of a batch.
            share: Of the loss of each image in what is minimised.
        """
        self.net, self.losses, self.size, self.share = net, losses, size, share
        self.failed = False
        self._replay: Callable[[], None] | None = None

    def takes(self, pixels: Tensor) -> bool:
        """Whether a batch is for `run`."""
        return len(pixels) == self.size and not self.failed

    def run(self, *batch: Tensor) -> Tensor | None:
        """Do the step of a batch, which leaves its gradients in the parameters.

        Args:
            batch: Pixels, targets and whatever else is another in each step, in the same shapes each time.

        Returns:
            The losses, (b,), until the next call; None if the step cannot be recorded and was not done.
        """
        if self._replay is None and not self._record(batch):
            return None
        assert self._replay is not None
        for place, tensor in zip(self._batch, batch, strict=True):
            place.copy_(tensor)
        for parameter, gradient in self._gradients:
            parameter.grad = gradient  # a batch of another size may have put its own there
        self._replay()
        return self._output

    def _record(self, batch: tuple[Tensor, ...]) -> bool:
        self._batch, device = [tensor.clone() for tensor in batch], batch[0].device
        before = [buffer.clone() for buffer in self.net.buffers()]
        numbers = torch.cuda.get_rng_state(device)
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        try:
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    self._compute()
            torch.cuda.current_stream(device).wait_stream(stream)
            torch.clear_autocast_cache()  # weights that were cast outside of the graph would never change in it
            self._replay = record(self._compute, stream)
        except RuntimeError as reason:
            self.failed = True
            logger.warning("training steps are not recorded in a CUDA graph, and so slower: %s", reason)
        torch.clear_autocast_cache()
        self._gradients = [(p, p.grad) for p in self.net.parameters() if p.requires_grad]
        # as if nothing had happened: the warm-up has moved running statistics and drawn numbers
        for buffer, value in zip(self.net.buffers(), before, strict=True):
            buffer.copy_(value)
        torch.cuda.set_rng_state(numbers, device)
        return not self.failed

    def _compute(self) -> None:
        self.net.zero_grad(set_to_none=True)
        output = self.losses(*self._batch)
        with torch.autocast(output.device.type, enabled=False):
            (output.sum() * self.share).backward()
        self._output = output.detach()


@torch.no_grad()
def average_gradients(net: nn.Module) -> None:
    """Give the network of each process the mean of all processes' gradients, in one exchange."""
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    mean = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(mean)
    mean /= dist.get_world_size()
    parts = mean.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])
