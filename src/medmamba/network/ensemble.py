"""Several networks that answer as one, each asked of one or two views of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Maps = list[list[Tensor]]  # of each member, of each view


class Ensemble(nn.Module):
    """Images (b, c, H, W) to the logits (b, classes) of the mean of the members' probabilities (Hansen & Salamon 1990).

    The logits are the logarithm of the mean, so that their softmax is the mean; of independent labels the log-odds of
    the mean, so that their sigmoid is. Every view of every member has the same weight. The members answer by their own
    logits as they are: what was fitted to one of them afterwards, a temperature say, is not in them. An ensemble of
    calibrated members is not calibrated, and one temperature for the mean serves it better (Rahaman & Thiery 2021).

    Follows timm's contract as far as inference needs it: `forward_head(forward_features(x))` is `forward(x)`. The
    members run one after the other, so that memory for activations is that of the largest.

    Args:
        members: Networks with the same inputs and outputs.
        mirror: Ask each of the picture and of its left-right mirror image.
        independent: Whether each output is a label of its own (a sigmoid each), else they share one softmax.
    """

    def __init__(self, members: Sequence[nn.Module], *, mirror: bool, independent: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.mirror, self.independent = mirror, independent

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the mean probability, (b, classes), of images (b, c, H, W)."""
        return self._pool([member(view) for member in self.members for view in self._views(image)])

    def forward_features(self, image: Tensor) -> Maps:
        """Last maps of each member, as its own `forward_features` lays them out, of each view."""
        found: list[Any] = list(self.members)
        return [[member.forward_features(view) for view in self._views(image)] for member in found]

    def forward_head(self, maps: Maps, pre_logits: bool = False) -> Tensor:
        """The members' pooled features side by side, each the mean over the views, (b, sum of d), if `pre_logits`.

        Else the logits of the mean probability.
        """
        found: list[Any] = list(self.members)
        heads = [
            [member.forward_head(view, pre_logits=pre_logits) for view in views]
            for member, views in zip(found, maps, strict=True)
        ]
        if pre_logits:
            return torch.cat([torch.stack(views).mean(dim=0).flatten(1) for views in heads], dim=1)
        return self._pool([logits for views in heads for logits in views])

    def _views(self, image: Tensor) -> list[Tensor]:
        return [image, image.flip(-1)] if self.mirror else [image]

    def _pool(self, logits: list[Tensor]) -> Tensor:
        """Logits of the mean of the probabilities of several logits, each (b, classes)."""
        stacked = torch.stack(logits)
        if not self.independent:
            return _log_mean(stacked.log_softmax(dim=-1))
        return _log_mean(F.logsigmoid(stacked)) - _log_mean(F.logsigmoid(-stacked))


def _log_mean(logarithms: Tensor) -> Tensor:
    """Logarithm of the mean over the first axis of what these are the logarithms of."""
    return logarithms.logsumexp(dim=0) - math.log(logarithms.shape[0])
