"""How often a calibrated model calls pictures of another kind unlike those of its training.

    python benchmarks/out_of_scope.py FOLDER_OF_DATA [--device cuda]

For each set of `KNOWN` a nano is trained with the `small` recipe at 64 x 64 and calibrated with 5 % refusals. Then it
is asked about its own test split, which should pass, and about everything else, which should not: other data sets,
noise, black and white, text, photographs. Nothing of these was looked at when the check was designed.
Writes benchmarks/results/out-of-scope.json and the table of docs/how-to/calibrate.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from epoch_rate import provenance
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from medmamba.calibration import calibrate
from medmamba.data import open_data
from medmamba.metrics.intervals import wilson
from medmamba.metrics.ranking import rank_auc
from medmamba.paper.sheet import fill
from medmamba.predictor import load
from medmamba.predictor.classifier import Classifier
from medmamba.training import fit

RESULTS = Path(__file__).parent / "results" / "out-of-scope.json"
PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "calibrate.md"
REFUSED = 0.05
MADE = 100  # pictures of each kind that is made here
SEED = 0


@dataclass(frozen=True)
class Known:
    """What a model is trained on."""

    path: str
    options: dict[str, Any] = field(default_factory=dict)
    related: tuple[str, ...] = ()  # sets of the same images, which are not of another kind


KNOWN = {
    "busi256": Known("busi256", related=("breastmnist",)),
    "bccd_cells": Known("bccd_cells", {"epochs": 20}, related=("malaria",)),  # red blood cells are a class of both
    "retinamnist": Known("medmnist/retinamnist.npz"),
}
OTHERS = {
    "busi256": "busi256",
    "bccd_cells": "bccd_cells",
    "isic2017": "isic2017",
    "malaria": "malaria",
    "breastmnist": "medmnist/breastmnist.npz",
    "retinamnist": "medmnist/retinamnist.npz",
    "pneumoniamnist": "medmnist/pneumoniamnist_reassembled.npz",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    results: dict[str, Any] = provenance(device, arguments.commit) | {"refused": REFUSED, "trained_on": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, known in KNOWN.items():
            run = Path(folder) / name
            results["trained_on"][name] = measure(arguments.data, known, run, arguments.device)
            print(name, json.dumps(results["trained_on"][name], indent=1), flush=True)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    fill(PAGE, "benchmarks/results/out-of-scope.json", f"{table(results)}\n")


def measure(data: Path, known: Known, run: Path, device: str) -> dict[str, Any]:
    """Refusals of each kind of picture, its own test split first."""
    source = str(data / known.path)
    options = {"model": "medmamba_nano", "recipe": "small", "image_size": (64, 64), "seed": SEED, "device": device}
    fit(source, out=run, progress=False, **{**options, **known.options})
    calibrate(run, source, refused=REFUSED, device=device)
    classifier = load(run, device=device)
    own = strangeness(classifier, split(open_data(source, classes=classifier.classes, seed=SEED), "test"))
    found = {"own test split": figures(own, own)}
    for name, path in OTHERS.items():
        if path != known.path and name not in known.related:
            found[name] = figures(strangeness(classifier, split(open_data(str(data / path)), "test")), own)
    for name, pictures in made().items():
        found[name] = figures(strangeness(classifier, pictures), own)
    return found


def split(data: Any, name: str) -> list[np.ndarray]:
    images = data.split(name if name in data.splits else "all")
    return [images.read(row) for row in range(len(images))]


def strangeness(classifier: Classifier, pictures: Sequence[np.ndarray]) -> np.ndarray:
    shape = classifier.bundle.preprocessing
    parts = [
        classifier.examined(np.stack([shape.pixels(picture) for picture in pictures[start : start + 64]]))[1]
        for start in range(0, len(pictures), 64)
    ]
    return np.concatenate(parts)


def figures(strange: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    refused = int((strange > 1).sum())
    low, high = wilson(refused, len(strange)) or (None, None)
    both, truth = np.concatenate([own, strange]), np.repeat([0, 1], [len(own), len(strange)])
    return {
        "n": len(strange),
        "refused": {"value": refused / len(strange), "low": low, "high": high},
        "auc_against_own": float(rank_auc(both, truth)),
    }


def made() -> dict[str, list[np.ndarray]]:
    """Pictures that are no medical images."""
    random = np.random.default_rng(SEED)
    photographs = load_sample_images().images
    crops = []
    for k in range(MADE):
        photograph = photographs[k % len(photographs)]
        side = int(random.integers(100, 400))
        top, left = (int(random.integers(0, edge - side)) for edge in photograph.shape[:2])
        crops.append(photograph[top : top + side, left : left + side])
    return {
        "noise": [random.integers(0, 256, (128, 128), dtype=np.uint8) for _ in range(MADE)],
        "one grey level": [np.full((128, 128), level, np.uint8) for level in np.linspace(0, 255, MADE).astype(int)],
        "text": [text(random) for _ in range(MADE)],
        "photographs": crops,
        "photographs in grey": [np.asarray(Image.fromarray(crop).convert("L")) for crop in crops],
    }


def text(random: np.random.Generator) -> np.ndarray:
    """A page of letters, black on white or white on black."""
    dark = bool(random.integers(0, 2))
    page = Image.new("L", (256, 256), 0 if dark else 255)
    draw = ImageDraw.Draw(page)
    for row in range(10, 250, 12):
        letters = "".join(random.choice(list("abcdefghij klmnopqrstuvwxyz"), 40))
        draw.text((8, row), letters, fill=255 if dark else 0)
    return np.asarray(page)


def table(results: dict[str, Any]) -> str:
    """A row a kind of picture, a column a model."""
    models = list(results["trained_on"])
    kinds = list(dict.fromkeys(kind for found in results["trained_on"].values() for kind in found))
    lines = [
        f"| pictures | {' | '.join(f'trained on {model}' for model in models)} |",
        "| --- |" + " --- |" * len(models),
    ]
    for kind in kinds:
        cells = [results["trained_on"][model].get(kind) for model in models]
        words = ["" if cell is None else f"{cell['refused']['value']:.0%} of {cell['n']}" for cell in cells]
        lines.append(f"| {kind} | {' | '.join(words)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
