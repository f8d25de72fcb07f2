"""A bundle's own network, run by torch."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import nn

from medmamba.bundle import Bundle, load_bundle, load_model
from medmamba.device import check_device, scan_backend, settle
from medmamba.network import for_inference
from medmamba.predictor.classifier import Classifier
from medmamba.tasks import probabilities


class Answers(nn.Module):
    """A network with all that stands around it: uint8 pixels (b, c, height, width) to probabilities (b, classes)."""

    def __init__(self, bundle: Bundle, network: nn.Module) -> None:
        super().__init__()
        self.bundle = bundle
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return probabilities(self.bundle.task, self.network(self.bundle.preprocessing.normalise(pixels)))


class NetworkClassifier(Classifier):
    """A network in torch.

    Attributes:
        model: The network, in evaluation mode, on the device.
    """

    def __init__(self, bundle: Bundle, model: nn.Module, device: torch.device) -> None:
        """Take a model that is in evaluation mode and on `device` already; `load` does that."""
        super().__init__(bundle, device=str(device), backend=scan_backend(device))
        self.model = model
        self.answers = Answers(bundle, model)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.answers(torch.from_numpy(pixels).to(self.device)).cpu().double().numpy()

    def features_and_probabilities(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        net: Any = self.model  # of timm's contract: forward_head(forward_features(x)) is forward(x)
        with torch.inference_mode():
            image = self.bundle.preprocessing.normalise(torch.from_numpy(pixels).to(self.device))
            maps = net.forward_features(image)
            features = net.forward_head(maps, pre_logits=True).flatten(1)
            answers = probabilities(self.bundle.task, net.forward_head(maps))
            return features.float().cpu().numpy(), answers.cpu().double().numpy()


def load(folder: str | os.PathLike[str], *, device: str = "auto") -> NetworkClassifier:
    """The classifier of a bundle.

    Args:
        folder: What `train` wrote.
        device: `auto` (CUDA, then MPS, then CPU), `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        InputError: The folder is no bundle, is damaged, or the device is not there.
    """
    bundle = load_bundle(folder)
    check_device(device)
    model, shape = load_model(folder, bundle), bundle.preprocessing
    place = settle(model, device, (1, shape.channels, shape.height, shape.width))
    return NetworkClassifier(bundle, for_inference(model), place)
