"""An exponential moving average of a model's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


def averaged_copy(model: nn.Module) -> nn.Module:
    """A copy to hold the average: no gradients, always in evaluation mode when it is used."""
    return copy.deepcopy(model).requires_grad_(False).eval()


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the model, running statistics included.

    In the first steps the decay is (1 + step) / (10 + step) where that is less, so that a short run is not an average
    over its random start.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    state = model.state_dict()
    pairs = [(mean, state[name]) for name, mean in average.state_dict().items()]
    means, values = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    torch._foreach_lerp_(means, values, share)  # on a GPU a few kernels instead of one for each tensor
    for mean, value in pairs:
        if not mean.is_floating_point():
            mean.copy_(value)
