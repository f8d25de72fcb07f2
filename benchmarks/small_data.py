"""Small real data sets on a laptop's processor: nano with the `small` recipe, beside a random forest on raw pixels.

    python benchmarks/small_data.py FOLDER_OF_DATA [--only breastmnist] [--seeds 0 1 2]

Trains each set with each seed through the command line, evaluates the test split once, and writes
`benchmarks/results/small-data.json` and the README's table. The recipe was chosen on other data (`choose_recipe.py`).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from medmamba.paper.sheet import fill

RESULTS = Path(__file__).parent / "results" / "small-data.json"
README = Path(__file__).parents[1] / "README.md"
RECIPE, MODEL = "small", "medmamba_nano"
IMAGE_SIZE = (64, 64)
SETS: dict[str, tuple[str, list[str]]] = {  # name: (path below the folder of data, more options)
    "breastmnist": ("medmnist/breastmnist.npz", []),
    "busi256": ("busi256", []),
    "bccd_cells": ("bccd_cells", ["--epochs", "20"]),  # an easy set: half the recipe's epochs
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--parallel", type=int, default=1, help="runs at once, which share the processor's cores")
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    jobs = [(name, seed) for name in arguments.only for seed in arguments.seeds]
    share = (os.cpu_count() or 1) // arguments.parallel
    free = [set(range(i * share, (i + 1) * share)) for i in range(arguments.parallel)]

    def work(job: tuple[str, int]) -> tuple[dict[str, Any], np.ndarray]:
        name, seed = job
        path, options = SETS[name]
        cores = free.pop()
        try:
            with tempfile.TemporaryDirectory() as folder:
                made = train_and_evaluate(arguments.data / path, options, seed, Path(folder) / f"{name}-{seed}", cores)
        finally:
            free.append(cores)
        print(name, made[0], flush=True)
        return made

    with ThreadPoolExecutor(arguments.parallel) as pool:
        made = dict(zip(jobs, pool.map(work, jobs), strict=True))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in arguments.only:
        path = SETS[name][0]
        runs, scores = zip(*(made[name, seed] for seed in arguments.seeds), strict=True)
        results[name] = {
            "data": name,
            "model": MODEL,
            "recipe": RECIPE,
            "image_size": list(IMAGE_SIZE),
            "commit": arguments.commit or commit(),
            "machine": machine(share),
            "runs": list(runs),
            **summary_over_seeds(arguments.data / path, np.stack(scores)),
            "forest": forest(arguments.data / path),
        }
    write({name: results[name] for name in SETS if name in results})


def write(results: dict[str, Any]) -> None:
    """The results file, and the table in the README."""
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    fill(README, "benchmarks/results/small-data.json", table(results))


def table(results: dict[str, Any]) -> str:
    """The README's table, Markdown."""

    def words(figure: dict[str, float]) -> str:
        return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"

    rows = [
        "| test split | n | nano, mean of 3 seeds: AUC | each seed | accuracy | random forest: AUC | minutes a run |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, result in results.items():
        runs = result["runs"]
        seeds = " ".join(f"{run['auc']['value']:.3f}" for run in runs)
        minutes = f"{max(run['train_seconds'] for run in runs) / 60:.1f}"
        cells = (name, str(runs[0]["n"]), words(result["mean_auc"]), seeds, words(result["mean_accuracy"]))
        rows.append("| " + " | ".join((*cells, words(result["forest"]["auc"]), minutes)) + " |")
    return "\n".join(rows) + "\n"


def train_and_evaluate(
    data: Path, options: list[str], seed: int, out: Path, cores: set[int]
) -> tuple[dict[str, Any], np.ndarray]:
    command = ["train", str(data), "--out", str(out), "--model", MODEL, "--recipe", RECIPE]
    command += ["--image-size", *map(str, IMAGE_SIZE), "--seed", str(seed), "--device", "cpu", *options]
    start = time.perf_counter()
    medmamba(*command, cores=cores)
    seconds = time.perf_counter() - start
    report = json.loads(medmamba("evaluate", str(out), str(data), "--json", "--device", "cpu", cores=cores))
    bundle = json.loads((out / "bundle.json").read_text())
    with (out / "evaluation-test" / "scores.csv").open(newline="", encoding="utf-8") as file:
        scores = np.array([[float(row[name]) for name in bundle["classes"]] for row in csv.DictReader(file)])
    run = {
        "command": " ".join(["medmamba", *command]).replace(str(data), data.name).replace(str(out), out.name),
        "seed": seed,
        "train_seconds": round(seconds, 1),
        "epochs": bundle["provenance"]["epochs"],
        "best_epoch": bundle["provenance"]["best_epoch"],
        "validation_auc": bundle["provenance"]["validation"]["auc"],
        "n": report["n"],
        "auc": {key: report["auc"][key] for key in ("value", "low", "high")},
        "accuracy": {key: report["accuracy"][key] for key in ("value", "low", "high")},
    }
    return run, scores


def medmamba(*arguments: str, cores: set[int]) -> str:
    command = ["taskset", "-c", ",".join(map(str, sorted(cores))), sys.executable, "-m", "medmamba", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(len(cores))}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def summary_over_seeds(data: Path, scores: np.ndarray) -> dict[str, Any]:
    """Mean over seeds of AUC and accuracy; the interval resamples the test images (patients where known)."""
    from medmamba.data import open_data
    from medmamba.metrics import bootstrap
    from medmamba.metrics.ranking import mean_auc, rank_aucs

    images = open_data(data).split("test")
    targets = images.targets
    truth = np.eye(scores.shape[2], dtype=int)[targets]

    def statistic(_: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        areas = np.mean([mean_auc(rank_aucs(score, truth, weights)) for score in scores], axis=0)
        hits = np.mean([score.argmax(1) == targets for score in scores], axis=0)
        return np.stack([areas, (weights * hits).sum(-1) / weights.sum(-1)], axis=-1)

    point = statistic(scores, targets, np.ones((1, len(targets))))[0]
    intervals = bootstrap(statistic, scores, targets, groups=images.groups, resamples=2000)
    return {
        name: {"value": float(value), "low": interval[0], "high": interval[1]}
        for name, value, interval in zip(("mean_auc", "mean_accuracy"), point, intervals, strict=True)
        if interval is not None
    }


def forest(data: Path) -> dict[str, Any]:
    """300 trees on raw pixels, squashed to 28 x 28, seed 0; AUC and accuracy on the test split with intervals."""
    from sklearn.ensemble import RandomForestClassifier

    from medmamba.data import Preprocessing, open_data
    from medmamba.metrics import summarise

    opened = open_data(data)
    first = opened.split("train").read(0)
    pixels = Preprocessing(28, 28, channels=1 if first.ndim == 2 else 3).pixels
    stacks = {}
    for name in ("train", "test"):
        images = opened.split(name)
        stacks[name] = np.stack([pixels(images.read(i)).ravel() for i in range(len(images))]), images
    model = RandomForestClassifier(300, random_state=0).fit(stacks["train"][0], stacks["train"][1].targets)
    images = stacks["test"][1]
    scores = model.predict_proba(stacks["test"][0])
    report = summarise(
        opened.task,
        scores,
        images.targets,
        opened.classes,
        positive=opened.positive,
        threshold=0.5,
        groups=images.groups,
    )
    return {name: {key: report[name][key] for key in ("value", "low", "high")} for name in ("auc", "accuracy")}


def commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude", "*"], capture_output=True, text=True)
    return found.stdout.strip()


def machine(cores: int) -> str:
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(": ")[2] if lines else model
    return f"{model}, {cores} of {os.cpu_count()} cores a run, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
