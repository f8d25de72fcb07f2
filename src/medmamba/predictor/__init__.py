"""A trained model at work: images in, probabilities out. Needs nothing that only training needs."""

from __future__ import annotations

import os
from pathlib import Path

from medmamba.errors import InputError
from medmamba.predictor.classifier import Classifier, Prediction

__all__ = ["Classifier", "Prediction", "load"]


def load(model: str | os.PathLike[str], *, device: str = "auto") -> Classifier:
    """The classifier of a bundle, or of a file that `medmamba export` wrote.

    Args:
        model: The folder that `train` wrote, or a `.onnx` file, which is run by onnxruntime and without torch.
        device: `auto` (CUDA, then MPS, then CPU), `cpu`, `cuda`, `cuda:1` or `mps`; a `.onnx` file runs on the CPU.

    Raises:
        InputError: It is no bundle and no exported file, is damaged, or the device is not there.
    """
    path = Path(model)
    if path.suffix.lower() == ".pt2" and path.is_file():
        raise InputError(f"{path} is for torch.export.load; give the model's folder, or a .onnx file")
    if path.suffix.lower() == ".onnx" and not path.is_dir():
        from medmamba.predictor import onnx_file

        return onnx_file.load(model, device=device)
    from medmamba.predictor import network

    return network.load(model, device=device)
