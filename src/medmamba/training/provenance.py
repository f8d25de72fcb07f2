"""Where a model comes from: what is logged at the start of a run and stored in its bundle."""

from __future__ import annotations

import datetime
import hashlib
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medmamba
from medmamba.bundle import Bundle
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.tasks import Task
from medmamba.training.config import TrainConfig
from medmamba.training.folder import SPLIT_TABLE
from medmamba.training.imbalance import CHOICES
from medmamba.training.recipe import Recipe

logger = logging.getLogger(__name__)

# what computes, what it learns with, what reads images and weights
PACKAGES = ("torch", "torchvision", "timm", "lightning", "numpy", "numba", "pillow", "safetensors")


def class_counts(images: ImageSet, data: Dataset | Bundle) -> dict[str, int]:
    """Images of each class of a split, by its name; for multi-label those that carry each label."""
    if data.task is Task.MULTILABEL:
        counts = images.targets.sum(axis=0)
    else:
        counts = np.bincount(images.targets, minlength=len(data.classes))
    return dict(zip(data.classes, counts.tolist(), strict=True))


def describe_data(data: Dataset, splits: Mapping[str, ImageSet], seed: int) -> dict[str, Any]:
    """Name, fingerprint, splits and counts of the data of a run, and the faults that were allowed.

    `patients` has the number of them in each split, None where they are unknown.
    """
    made = ", ".join(data.made_splits)
    return {
        "name": data.name,
        "fingerprint": data.fingerprint(),
        "splits": f"{made} made here, seed {seed}" if made else "given",
        "counts": {name: class_counts(images, data) for name, images in splits.items()},
        "patients": {name: None if each.groups is None else len(set(each.groups)) for name, each in splits.items()},
        "notes": list(data.notes),
        "allowed": list(data.allowed),
    }


def log_data(description: Mapping[str, Any]) -> None:
    """Say what the data are."""
    logger.info("data: %s, splits %s", description["name"], description["splits"])
    for sentence in description.get("allowed", ()):
        logger.warning("allowed: %s", sentence)
    for note in description["notes"]:
        logger.info("data: %s", note)
    for split, counts in description["counts"].items():
        logger.info("%s: %s", split, ", ".join(f"{name} {count}" for name, count in counts.items()))


def versions() -> dict[str, str]:
    """Versions of what decides a result; of CUDA where torch has found a card."""
    packages = {name: found for name in PACKAGES if (found := installed(name)) is not None}
    cuda = {"cuda": str(torch.version.cuda)} if torch.cuda.is_available() else {}
    return {"medmamba": medmamba.__version__, "python": platform.python_version(), **packages, **cuda}


def installed(package: str) -> str | None:
    """Version of a package, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe_machine(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """The class of a machine, by which a result may differ in its last bits: nothing tells which machine it was.

    Args:
        device: Where each process computes.
        processes: Of the run; on CUDA each has a card of its own.

    Returns:
        `system`, `processor` (architecture), `instructions` (the widest of the processor that torch uses) and
        `threads` of a process; on CUDA `gpu`, its model, and `gpus`, how many of them the run has.
    """
    gpu = {"gpu": torch.cuda.get_device_name(device), "gpus": processes} if device.type == "cuda" else {}
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        **gpu,
    }


def describe_splits(folder: Path) -> dict[str, Any]:
    """Name and SHA-256 of the table of splits that a run wrote into its folder; nothing where it wrote none."""
    path = folder / SPLIT_TABLE
    if not path.is_file():
        return {}
    return {"split_file": {"name": SPLIT_TABLE, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}


def describe_run(
    config: TrainConfig, recipe: Recipe, data: Mapping[str, Any], command: str | None, by_rule: Sequence[str] = ()
) -> dict[str, Any]:
    """What is asked of a run, on what and with what, as JSON takes it. No path of the machine is added to it.

    `by_rule` has the sentences of `medmamba.training.rules.settle`.
    """
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "command": command or "medmamba.fit",
        "seed": config.seed,
        "config": asdict(config),
        "recipe": recipe.to_dict(),
        **({"settings_by_rule": list(by_rule)} if by_rule else {}),
        "data": dict(data),
        **({"imbalance": f"{choice}: {CHOICES[choice]}"} if (choice := recipe.imbalance) != "none" else {}),
    }


def log_run(recipe: Recipe, by_rule: Sequence[str], *, backend: str, device: str, precision: str) -> None:
    """Say how a run trains and where."""
    logger.info("scan backend %s on %s, precision %s", backend, device, precision)
    logger.info("recipe: %s", ", ".join(f"{name} {value}" for name, value in recipe.to_dict().items()))
    for sentence in by_rule:
        logger.info("recipe: by its rule %s", sentence)
