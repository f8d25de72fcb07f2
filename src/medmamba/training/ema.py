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
    for name, mean in average.state_dict().items():
        if mean.is_floating_point():
            mean.lerp_(state[name], share)
        else:
            mean.copy_(state[name])
