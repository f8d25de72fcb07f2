"""What `medmamba info` tells: this machine, the models, the data sets. Rows of text; printing is the command line's."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Rows = list[tuple[str, ...]]

PACKAGES = ("torch", "torchvision", "timm", "numba", "lightning", "numpy", "pillow")
EXTRAS = {
    "train": ("lightning", "matplotlib"),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "dicom": ("pydicom", "pylibjpeg", "openjpeg", "libjpeg"),
    "automl": ("flaml", "lightgbm"),
}

# what the paper's tables print: parameters in millions at 6 or 1000 classes, multiply-adds in G at 224 x 224;
# for MedViT what is read off figures of its own authors
PAPER = {
    "medmamba_tiny": "14.5 / 15.2; 2.0",
    "medmamba_small": "22.8 / 23.5; 3.5 (of 12 blocks)",
    "medmamba_small12": "22.8 / 23.5; 3.5",
    "medmamba_base": "47.1 / 48.1; 7.4 (of 16 blocks)",
    "medmamba_base16": "47.1 / 48.1; 7.4",
    "medmamba_tiny_scan": "16.2; 2.0",
    "medmamba_tiny_sum": "51.6; 7.4",
    "medmamba_tiny_split": "14.5; 2.0",
    "medmamba_tiny_shuffle": "14.5; 2.0",
    "vmamba_tiny": "22.1; 4.4",
    "vmamba_small": "43.7; 9.0",
    "vmamba_base": "75.2; 15.1",
    "medvit_tiny": "about 10; 6 (off figures of its authors)",
    "medvit_small": "about 23; 8.5 (off figures of its authors)",
    "medvit_large": "about 45; 11 (off figures of its authors)",
}


def machine() -> Rows:
    """Versions, devices, the scan backend that runs on each and why, and what is not installed."""
    import torch

    from medmamba import __version__
    from medmamba.ops import backend

    rows: Rows = [
        ("medmamba", __version__),
        ("Python", f"{platform.python_version()} on {platform.system()}, {os.cpu_count()} processor cores"),
        *((name, _version(name)) for name in PACKAGES),
    ]
    devices = [torch.device("cpu")]
    devices += [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    devices += [torch.device("mps")] if torch.backends.mps.is_available() else []
    for device in devices:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
        rows.append((f"device {device}", name if device.type != "mps" else "Apple GPU"))
        rows.append(("  scan backend", _choice(device.type)))
        rows += [(f"  {label}", words) for label, words in backend.describe(device.type).items()]
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        rows.append(
            (
                f"extra {extra}",
                f"lacks {', '.join(missing)}: pip install 'medmamba[{extra}]'" if missing else "installed",
            )
        )
    return rows


def _choice(device_type: str) -> str:
    from medmamba.ops import BackendError, backend

    asked = backend.requested()
    try:
        return backend.choose(device_type, asked) + (f" (asked for by {backend.ENVIRONMENT})" if asked else "")
    except BackendError as reason:
        return str(reason)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def models(classes: tuple[int, int] = (6, 1000)) -> Rows:
    """Our models: depths, widths, parameters at two numbers of classes, and what the paper prints."""
    import torch

    from medmamba import network
    from medmamba.models import create_model, medvit, model_names

    shapes: dict[str, Any] = {**network.VARIANTS, **medvit.VARIANTS}
    rows: Rows = [
        ("model", "depths", "widths", *(f"parameters, {n} classes" for n in classes), "the paper prints, M; G"),
    ]
    for name in model_names():
        with torch.device("meta"):
            sizes = [sum(p.numel() for p in create_model(name, n).parameters()) for n in classes]
        row = shapes[name]
        widths = ("/".join(map(str, width)) if isinstance(width, tuple) else str(width) for width in row.widths)
        numbers = (" ".join(map(str, row.depths)), " ".join(widths), *(f"{size:,}" for size in sizes))
        rows.append((name, *numbers, PAPER.get(name, "-")))
    return rows


def model(name: str, num_classes: int, image_size: tuple[int, int], channels: int) -> dict[str, Any]:
    """Parameters and operations of one model, ours or timm's; the keys of `medmamba.evaluation.complexity`."""
    from medmamba.evaluation import complexity
    from medmamba.models import create_model

    return complexity(create_model(name, num_classes, in_chans=channels, image_size=image_size), image_size, channels)


def data_sets() -> Rows:
    """The data sets of the catalogue: the paper's, and the other MedMNIST sets."""
    from medmamba.data.catalogue import CATALOGUE

    rows: Rows = [
        ("name", "task", "classes", "images", "the paper's train / val / test", "licence", "how to get", "images from")
    ]
    for name, row in CATALOGUE.items():
        paper = " / ".join(f"{n:,}" for n in row.paper) if row.paper else "-"
        how = "by name" if row.md5 else "private" if row.licence == "private" else f"medmamba prepare {name}"
        origin = ", ".join(row.derived_from) + (", perhaps others" if row.perhaps_from else "")
        licence = row.licence.split(",")[0].split(":")[0]
        rows.append((name, str(row.task), str(len(row.classes)), f"{row.total:,}", paper, licence, how, origin))
    return rows


def bundle(folder: str) -> Rows:
    """What a trained model or a backbone is and where it came from; what was not recorded reads `unknown`."""
    from medmamba import backbone, card
    from medmamba.bundle import Bundle

    found = backbone.load_start(folder)
    return list((card.facts(found) if isinstance(found, Bundle) else backbone.facts(found)).items())
