"""Bundles that answer firmly although they have learnt nothing, and pictures for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from medmamba.bundle import Bundle
from medmamba.data.phantoms import make_phantoms
from medmamba.data.preprocessing import Preprocessing
from medmamba.ensembling import ensemble
from medmamba.export.check import extremes
from medmamba.tasks import Task

SIZE = 64
FIRM = 3.0  # standard deviation of a logit over the pictures here, whatever the weights that torch draws
SHAPE = Preprocessing(height=SIZE, width=SIZE)


def save_model(folder: Path, model: str, seed: int = 0, **model_args: Any) -> Path:
    """With weights as after training: answers far from even but none of them certain, and scans that matter."""
    bundle = Bundle(model, Task.MULTICLASS, ("ant", "bee", "zebra"), SHAPE, model_args)
    torch.manual_seed(seed)
    net = bundle.build_model()
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            if name.endswith(("x_proj_weight", "dt_weight")):
                tensor.mul_(10)
            elif name.endswith(("A_log", "dt_bias")):
                tensor.add_(torch.randn_like(tensor))
        net.eval()
        logits = torch.cat([net(bundle.preprocessing.normalise(torch.from_numpy(some))) for some in pictures()])
        head = net.get_classifier()
        head.weight.mul_((FIRM / logits.std(dim=0))[:, None])
        head.bias.sub_(logits.mean(dim=0)).mul_(FIRM / logits.std(dim=0))
    bundle.save(folder, net.state_dict())
    return folder


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """All kinds here."""
    return phantoms(7), extreme_pictures()


def save_mirrored_pair(folder: Path) -> Path:
    """Two small networks as one, each asked of both sides."""
    small = {"depths": [1, 1], "widths": [16, 32]}
    members = [save_model(folder / str(seed), "medmamba_nano", seed, **small) for seed in (0, 1)]
    return ensemble(members, out=folder / "both", mirror=True)


def phantoms(n: int) -> np.ndarray:
    """Pictures as they reach a model, uint8 (n, 3, SIZE, SIZE)."""
    return np.repeat(make_phantoms(n, SIZE)[0][:, None], 3, axis=1)


def extreme_pictures() -> np.ndarray:
    """What no scanner makes: `extremes`, one colour each, a bright corner, stripes of one pixel; uint8 (n, 3, h, w)."""
    colours = np.zeros((6, 3, SIZE, SIZE), np.uint8)
    for row, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (1, 1, 1), (254, 254, 254))):
        colours[row] = np.array(colour, np.uint8)[:, None, None]
    corner, stripes = np.zeros((2, 3, SIZE, SIZE), np.uint8)
    corner[:, -1, -1] = 255
    stripes[:, :, ::2] = 255
    return np.concatenate([np.stack(extremes(SHAPE)), colours, corner[None], stripes[None]])
