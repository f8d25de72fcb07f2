"""What a second GPU brings, and whether the model stays as good: the same training on one and on two.

    python benchmarks/two_gpus.py [DATA] [--model medmamba_tiny] [--size 224] [--batch 128] [--epochs 5] [--out FILE]

Both train through the command line with the same recipe on the same images, with the same batch on each GPU: so the
batch of two is twice that of one, and their steps are half as many. Throughput is that of the epochs but the first,
images a second. The difference of validation AUC (two minus one) has a paired bootstrap interval: each resample draws
the same images (patients where known) for both. `--device cpu` tries it with two processes on a processor.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from epoch_rate import paces, provenance

import medmamba
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.device import check_device
from medmamba.metrics import bootstrap
from medmamba.metrics.ranking import mean_auc, rank_aucs
from medmamba.tasks import Task

RESULTS = Path(__file__).parent / "results" / "two-gpus.json"
RECIPE = "quick"
RESAMPLES = 2000
MUST, AIM = 1.8, 1.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="phantoms:10500", help="as for `medmamba train`")
    parser.add_argument("--model", default="medmamba_tiny")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=128, help="on each GPU")
    parser.add_argument("--epochs", type=int, default=5, help="the first does not count for the throughput")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error("the first epoch does not count: give 2 or more")
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.data
        if path.startswith("phantoms"):
            path = str(Path(folder) / "phantoms.npz")
            store(medmamba.open_data(arguments.data), path)
        made = [train(arguments, path, devices, Path(folder) / str(devices)) for devices in (1, 2)]
        data = medmamba.open_data(path)
        scores = [validation_scores(Path(folder) / str(devices), data, arguments.device) for devices in (1, 2)]
        results = describe(arguments, data, made, scores)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps({name: results[name] for name in ("device", "throughput_ratio", "auc", "auc_difference")}))
    print(arguments.out)


def store(phantoms: Dataset, path: str) -> None:
    """Draw phantoms once for all processes, which takes longer than to train on them, as a file in MedMNIST's form."""
    train, val = phantoms.split("train"), phantoms.split("val")
    arrays = {}
    for name, images in {"train": train, "val": val, "test": val}.items():  # nobody reads test, but the form has it
        assert images.array is not None
        arrays |= {f"{name}_images": images.array, f"{name}_labels": images.targets[:, None]}
    np.savez(path, **arrays)


def train(arguments: argparse.Namespace, data: str, devices: int, out: Path) -> dict[str, Any]:
    """One training through the command line, and how fast it was."""
    command = ["train", data, "--out", str(out), "--model", arguments.model, "--recipe", RECIPE]
    command += ["--image-size", str(arguments.size), str(arguments.size), "--epochs", str(arguments.epochs)]
    command += ["--batch-size", str(arguments.batch * devices), "--devices", str(devices)]
    command += ["--device", arguments.device] + ["--compile"] * arguments.compile
    subprocess.run([sys.executable, "-m", "medmamba", *command], check=True)
    epochs = paces(out, arguments.epochs)
    return {
        "devices": devices,
        "batch_size": arguments.batch * devices,
        "images_per_second": statistics.median(epoch["images_per_second"] for epoch in epochs[1:]),
        "epochs": epochs,
        "run": json.loads((out / "bundle.json").read_text())["provenance"],
    }


def validation_scores(run: Path, data: Dataset, device: str) -> np.ndarray:
    """Of the validation split, (n, classes)."""
    model = medmamba.load(run, device=device)
    if data.fingerprint() != model.bundle.provenance["data"]["fingerprint"]:
        raise SystemExit(f"{data.name} was split otherwise for the training than it is here")
    return model.scores(data.split("val"))


def describe(
    arguments: argparse.Namespace, data: Dataset, made: list[dict[str, Any]], scores: list[np.ndarray]
) -> dict[str, Any]:
    """The results file."""
    images, about = data.split("val"), made[0]["run"]
    aucs, interval = paired_difference(data.task, images, *scores)
    low, high = interval or (None, None)
    ratio = made[1]["images_per_second"] / made[0]["images_per_second"]
    return {
        **provenance(check_device(arguments.device), arguments.commit),
        "scan_backend": about["backend"],
        "data": data.name,
        "training_images": sum(about["data"]["counts"]["train"].values()),
        "validation_images": len(images),
        "model": arguments.model,
        "recipe": RECIPE,
        "image_size": [arguments.size, arguments.size],
        "batch_size_on_each": arguments.batch,
        "precision": about["precision"],
        "mode": "compile" if arguments.compile else "eager",
        "seed": about["seed"],
        "runs": [
            {**{name: value for name, value in run.items() if name != "run"}, "best_epoch": run["run"]["best_epoch"]}
            for run in made
        ],
        "throughput_ratio": ratio,
        "throughput_must": MUST,
        "throughput_aim": AIM,
        "throughput_reached": ratio >= MUST,
        "auc": aucs,
        "auc_difference": {"value": aucs[1] - aucs[0], "low": low, "high": high, "resamples": RESAMPLES},
        "interval_holds_zero": interval is not None and low <= 0 <= high,
    }


def paired_difference(
    task: Task, images: ImageSet, one: np.ndarray, two: np.ndarray
) -> tuple[list[float], tuple[float, float] | None]:
    """AUC of both models, and the 95 % interval of the second minus the first over resamples of the images."""
    targets, classes = images.targets, one.shape[1]
    truth = targets if task is Task.MULTILABEL else np.eye(classes, dtype=int)[targets]

    def aucs(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return mean_auc(rank_aucs(scores, truth, weights))

    def statistic(_: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return (aucs(two, weights) - aucs(one, weights))[:, None]

    whole = np.ones((1, len(targets)))
    interval = bootstrap(statistic, one, targets, groups=images.groups, resamples=RESAMPLES)[0]
    return [float(aucs(scores, whole)[0]) for scores in (one, two)], interval


if __name__ == "__main__":
    main()
