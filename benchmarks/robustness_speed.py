"""Time of a robustness sweep of medmamba_tiny at 224 x 224, and how much of it the corruptions take.

    python benchmarks/robustness_speed.py [--images 400] [--corruptions paper]

makes pictures of 256 pixels in colours, sweeps them with a classifier that is free and then with an untrained network,
and writes benchmarks/results/robustness-speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from epoch_rate import provenance
from processor import processor

from medmamba.bundle import Bundle
from medmamba.data import Dataset, Preprocessing
from medmamba.data.dataset import ImageSet
from medmamba.data.phantoms import CLASSES, phantom
from medmamba.predictor import Classifier, load
from medmamba.robustness import sweep
from medmamba.tasks import Task

RESULTS = Path(__file__).parent / "results" / "robustness-speed.json"
MUST = 600.0  # seconds for 400 images


class Free(Classifier):
    """Answers of a network that takes no time."""

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        share = pixels.reshape(len(pixels), -1)[:, ::997].mean(axis=1) / 255
        return np.stack([1 - share, share], axis=1)

    def features_and_probabilities(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--corruptions", nargs="+", default=["paper"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only-corruptions", action="store_true", help="leave the network out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    data = pictures(arguments.images)
    bundle = Bundle("medmamba_tiny", Task.BINARY, CLASSES, Preprocessing(224, 224, 3))
    with tempfile.TemporaryDirectory() as folder:
        free = Free(bundle, device="cpu", backend="none")
        results: dict[str, Any] = {
            **provenance(torch.device(arguments.device), arguments.commit),
            "processor": processor(),
            "cores": os.cpu_count(),
            "images": arguments.images,
            "corruptions": arguments.corruptions,
            "must_seconds_for_400": MUST,
            "without_network": timed(free, data, arguments.corruptions, folder),
        }
        if not arguments.only_corruptions:
            torch.manual_seed(0)
            bundle.save(folder, bundle.build_model().state_dict())
            classifier = load(folder, device=arguments.device)
            classifier.probabilities(np.zeros((1, 3, 224, 224), np.uint8))  # compile first
            results["whole"] = timed(classifier, data, arguments.corruptions, folder)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def pictures(n: int) -> Dataset:
    """Phantoms in false colours, 256 pixels."""
    grey = np.stack([phantom(k, size=256)[0] for k in range(n)])
    array = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    images = ImageSet(tuple(f"test/{k}" for k in range(n)), np.arange(n) % 2, array=array)
    return Dataset("coloured phantoms", Task.BINARY, CLASSES, {"test": lambda: images}, positive=1)


def timed(classifier: Classifier, data: Dataset, corruptions: list[str], folder: str) -> dict[str, float]:
    """Seconds on the clock and of the processor, of the scoring alone and with figures and files."""
    moments = []
    start, spent = time.perf_counter(), time.process_time()
    sweep(
        classifier,
        data,
        out=Path(folder) / "sweep",
        corruptions=corruptions,
        progress=lambda done, total: moments.append((time.perf_counter(), time.process_time(), done)),
    )
    return {
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - spent,
        "scoring_seconds": moments[-1][0] - start,
        "scoring_processor_seconds": moments[-1][1] - spent,
        "images_scored": moments[-1][2],
    }


if __name__ == "__main__":
    main()
