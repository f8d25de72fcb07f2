"""Mixup: an image and its loss become those of two images (Zhang et al. 2018).

The form used here: each image of a batch (of a part of it, where batches come in parts; of a process's share, where
there are several) is mixed with the one before it, the first with the last. The order of a batch is drawn anew in every
epoch, so the partner is as random as one that is drawn; a batch may have any size, and a lone image stays what it is.
Each image has a share of its own, from Beta(alpha, alpha).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from medmamba.training.seeds import MIX, seed_for


def draw_shares(alpha: float, batches: int, size: int, *, seed: int, epoch: int, rank: int) -> Tensor:
    """What each image keeps of itself in an epoch, (batches, size), float32 in [0, 1]: a function of the arguments.

    Args:
        alpha: Of the Beta distribution, more than 0; small values leave most images nearly as they are.
        batches: Of the epoch; those that come in parts count as several.
        size: Images of the largest; smaller ones take the first numbers of their row.
        seed: Of the run.
        epoch: From 0 over the whole run.
        rank: Of the process.
    """
    generator = np.random.default_rng(seed_for(MIX, seed, epoch, rank))
    return torch.from_numpy(generator.beta(alpha, alpha, (batches, size)).astype(np.float32))


def mixed(images: Tensor, shares: Tensor) -> Tensor:
    """Each image times its share plus its partner times the rest: (b, ...) and (b,) -> (b, ...)."""
    return _between(images, images.roll(1, 0), shares.view(-1, *[1] * (images.ndim - 1)))


def mixed_loss(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
    """Loss of each mixed image, (b,): for its own target times its share, plus for its partner's times the rest.

    So each part is what label smoothing and the choice for rare classes make of a target that is sure. Where the loss
    is linear in the target, as cross-entropies of one or of several labels are, weighted or not, it is the loss for the
    mixed target; the focal loss is not linear, and has no meaning for targets between 0 and 1.

    Args:
        loss: (logits, targets) -> (b,).
        logits: Of the mixed images, (b, classes).
        targets: Of the images as they were, (b,) or (b, classes).
        shares: (b,).
    """
    return _between(loss(logits, targets), loss(logits, targets.roll(1, 0)), shares)


def _between(own: Tensor, other: Tensor, shares: Tensor) -> Tensor:
    return shares * own + (1 - shares) * other
