"""A bundle's own network, run by torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medmamba.bundle import DESCRIPTION, FILES, SCOPE, Bundle, load_bundle, load_model
from medmamba.device import WHOLE_FLOAT32, check_device, scan_backend, settle
from medmamba.manifest import find_file, undisturbed
from medmamba.network import for_inference
from medmamba.predictor.classifier import Classifier
from medmamba.predictor.scope import Kind
from medmamba.tasks import probabilities

AT_ONCE = (
    8 * 224 * 224
)  # pixels that a processor takes through a network together: of more, no layer's map stays in cache


class Answers(nn.Module):
    """A network with all that stands around it: uint8 pixels (b, c, height, width) to probabilities (b, classes)."""

    def __init__(self, bundle: Bundle, network: nn.Module) -> None:
        super().__init__()
        self.bundle = bundle
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.of_logits(self.network(self.bundle.preprocessing.normalise(pixels)))

    def of_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities of logits (b, classes)."""
        return probabilities(self.bundle.task, logits, temperature=self.bundle.decisions.temperature)


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
        with torch.inference_mode(), WHOLE_FLOAT32:
            parts = [self.answers(part.to(self.device)).cpu().double().numpy() for part in self._parts(pixels)]
            return np.concatenate(parts)

    def features_and_probabilities(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        net: Any = self.model  # of timm's contract: forward_head(forward_features(x)) is forward(x)
        features, answers = [], []
        with torch.inference_mode(), WHOLE_FLOAT32:
            for part in self._parts(pixels):
                maps = net.forward_features(self.bundle.preprocessing.normalise(part.to(self.device)))
                features.append(net.forward_head(maps, pre_logits=True).flatten(1).float().cpu().numpy())
                answers.append(self.answers.of_logits(net.forward_head(maps)).cpu().double().numpy())
        return np.concatenate(features), np.concatenate(answers)

    def _parts(self, pixels: np.ndarray) -> Sequence[torch.Tensor]:
        """The images in as few parts of about one size as are quick on this device."""
        whole = torch.from_numpy(pixels)
        if self.device != "cpu" or not len(pixels):
            return [whole]
        at_once = max(1, AT_ONCE // (pixels.shape[2] * pixels.shape[3]))
        return whole.tensor_split(-(-len(pixels) // at_once))


def load(folder: str | os.PathLike[str], *, device: str = "auto") -> NetworkClassifier:
    """The classifier of a bundle.

    Args:
        folder: What `train` wrote.
        device: `auto` (CUDA, then MPS, then CPU), `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        InputError: The folder is no bundle, is damaged, or the device is not there.
    """
    check_device(device)
    folder = Path(folder)

    def read() -> tuple[Bundle, nn.Module, Kind | None]:
        bundle = load_bundle(folder)
        told = bundle.decisions.scope is not None
        kind = Kind.read(find_file(folder, SCOPE, bundle.files.get(SCOPE))) if told else None
        return bundle, load_model(folder, bundle), kind

    bundle, model, kind = undisturbed(folder, (DESCRIPTION, *FILES), read)
    shape = bundle.preprocessing
    place = settle(model, device, (1, shape.channels, shape.height, shape.width))
    classifier = NetworkClassifier(bundle, for_inference(model), place)
    classifier.kind = kind
    return classifier
