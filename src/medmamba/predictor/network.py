"""A bundle's own network, run by torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import nn

from medmamba.bundle import DESCRIPTION, FILES, SCOPE, Bundle, load_bundle, load_model
from medmamba.device import check_device, scan_backend, settle
from medmamba.manifest import find_file, undisturbed
from medmamba.network import for_inference
from medmamba.predictor.classifier import Classifier
from medmamba.predictor.scope import Kind
from medmamba.tasks import probabilities

AT_ONCE = (
    8 * 224 * 224
)  # pixels that a processor takes through a network together: of more, no layer's map stays in cache


class WholeFloat32:
    """Inside a block with this, convolutions and matrix products on CUDA take all 23 bits of the numbers they multiply.

    Convolutions by default, and products where somebody asked for it, take 10 (TF32), and then an answer depends in the
    third digit on how many pictures are asked for together, and differs as much from that of a processor. The switches
    are those of the process: the last thread that leaves its block puts them back, and until then torch refuses to tell
    `torch.backends.cudnn.allow_tf32`, its older name for one of them.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._put_back: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._put_back = [_switch_convolutions(), _switch_products()]
            self._inside += 1

    def __exit__(self, *reason: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for put_back in self._put_back:
                    put_back()


def _switch_convolutions() -> Callable[[], None]:
    """Whole float32 for convolutions; call what is returned to put the switch back."""
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    return partial(setattr, convolutions, "fp32_precision", before)


def _switch_products() -> Callable[[], None]:
    """The same for matrix products, by the name with which TF32 was asked for: torch refuses to mix old and new."""
    products: Any = torch.backends.cuda.matmul
    if products.fp32_precision != "tf32":
        return lambda: None
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # by its new name
        products.fp32_precision = "ieee"
        return partial(setattr, products, "fp32_precision", "tf32")
    torch.set_float32_matmul_precision("highest")
    return partial(torch.set_float32_matmul_precision, before)


WHOLE_FLOAT32 = WholeFloat32()


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
