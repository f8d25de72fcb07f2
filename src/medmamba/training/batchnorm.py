"""Batch normalisation where several processes share a batch.

Where each has few of its images, statistics are those of the whole batch, so that the number of processes does not
change the model. That costs two exchanges for every layer and step. From `LARGE_SHARE` images on, each process
normalises its own, as usual for large batches, and only the running statistics are averaged before they are used.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

LARGE_SHARE = 32  # images of a process whose statistics are as good as those of all


def synchronise(model: nn.Module, device_type: str) -> nn.Module:
    """Make every batch normalisation of a model use the statistics of the whole batch; names of tensors stay.

    On CUDA these are torch's own layers; torch has none for the CPU, so those are `SharedBatchNorm`.
    """
    if device_type == "cuda":
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = SharedBatchNorm  # in place: parameters, buffers, hooks and names are kept
    return model


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation whose training statistics are those of all processes' images, by their number in each."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, ...) -> (b, c, ...)."""
        if self.training:
            x = self._shared(x)
        else:
            own = self.running_mean is None  # a layer that keeps no running statistics takes those of its input
            x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, own, eps=self.eps)
        # timm's BatchNormAct2d is a batch normalisation with dropout and activation inside
        for name in ("drop", "act"):
            if name in self._modules:
                x = getattr(self, name)(x)
        return x

    def _check_input_dim(self, x: Tensor) -> None:
        """Any number of dimensions from 2 on."""

    def _shared(self, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = all_sum(x.new_tensor(x.numel() // x.shape[1]))
        mean = all_sum(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = all_sum(centred.square().sum(axes)) / count
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * count / (count - 1))
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        return y if self.weight is None else y * self.weight.view(shape) + self.bias.view(shape)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _AllSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


@torch.no_grad()
def average_running_statistics(model: nn.Module) -> None:
    """Give all processes the mean of their running statistics, of layers that are not synchronised."""
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    own = [m for m in layers if not isinstance(m, (SharedBatchNorm, nn.SyncBatchNorm))]
    statistics = [t for m in own for t in (m.running_mean, m.running_var) if t is not None]
    if not statistics:
        return
    mean = torch.cat(statistics)
    dist.all_reduce(mean)
    mean /= dist.get_world_size()
    torch._foreach_copy_(statistics, mean.split([len(t) for t in statistics]))


def all_sum(x: Tensor) -> Tensor:
    """Sum of a tensor over all processes, differentiable; the tensor itself where there is only one."""
    return _AllSum.apply(x) if dist.is_available() and dist.is_initialized() else x
