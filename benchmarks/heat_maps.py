"""Whether heat maps mean something, and which layer they are best made from, on phantoms, whose lesions are known.

    python benchmarks/heat_maps.py [RUN ...] [--model medmamba_nano] [--image-size 128 128] [--seeds 0 1] [--device cpu]

Takes models that were trained on `phantoms`, or trains one of each seed. For each it runs `check_heat_maps` with the
method and layers by default, and pointing alone for each stage and for means of them, and writes both to
`benchmarks/results/heat-maps.json`, by model, image size and seed. The phantoms that are looked at have another seed
than those of the training.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import medmamba
from medmamba.data import Dataset, open_data
from medmamba.explain import check_heat_maps
from medmamba.paper.sheet import fill
from medmamba.predictor import Classifier

RESULTS = Path(__file__).parent / "results" / "heat-maps.json"
PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "explain.md"
METHODS = ("gradcam", "layercam")
PARTS = ("deletion", "insertion")
STAGES = tuple(tuple(f"stages.{i}" for i in stages) for stages in ((0,), (1,), (2,), (3,), (0, 1, 2, 3)))
SEED = 1  # of the phantoms that are looked at: those of the training have 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of models trained on phantoms")
    parser.add_argument("--model", default="medmamba_nano", help="to be trained where no run is given")
    parser.add_argument("--image-size", type=int, nargs=2, default=[128, 128])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--n", type=int, default=100, help="images")
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    arguments.commit = arguments.commit or commit()  # before results are written
    with tempfile.TemporaryDirectory() as folder:
        runs = arguments.runs or (train(arguments, Path(folder) / f"seed{seed}", seed) for seed in arguments.seeds)
        for run in runs:
            write(measure(run, arguments))


def train(arguments: argparse.Namespace, out: Path, seed: int) -> Path:
    return medmamba.fit(
        "phantoms",
        out=out,
        model=arguments.model,
        recipe=arguments.recipe,
        image_size=tuple(arguments.image_size),
        channels=1,
        device=arguments.device,
        seed=seed,
    )


def measure(run: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    classifier = medmamba.load(run, device=arguments.device)
    data = open_data("phantoms", seed=SEED)
    by_default = check_heat_maps(classifier, data, n=arguments.n)
    print(json.dumps(by_default, indent=1), flush=True)
    stages = [pointing(classifier, data, method, layers, arguments.n) for layers in STAGES for method in METHODS]
    provenance = classifier.bundle.provenance
    return {
        "model": classifier.bundle.model,
        "image_size": by_default["image_size"],
        "seed": provenance.get("seed"),
        "trained": {name: provenance.get(name) for name in ("recipe", "epochs", "device", "validation")},
        "commit": arguments.commit,
        "device": f"{classifier.device}: {platform.processor() or platform.machine()}",
        "phantoms_seed": SEED,
        "by_default": by_default,
        "stages": stages,
    }


def pointing(classifier: Classifier, data: Dataset, method: str, layers: Sequence[str], n: int) -> dict[str, Any]:
    """A row of other layers."""
    found = check_heat_maps(classifier, data, n=n, method=method, layers=layers, parts=("pointing",))
    row = {"method": method, "layers": list(layers), "cells": found["cells"], "n": found["n"]}
    row |= {"empty_maps": found["empty_maps"], "pointing": found["pointing"].get("share")}
    print(row, flush=True)
    return row


def write(result: dict[str, Any]) -> None:
    """Put a result in the place of the earlier one of its model, image size and seed."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    results = [each for each in results if key(each) != key(result)] + [result]
    results.sort(key=key)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    fill(PAGE, "benchmarks/results/heat-maps.json", table(results))


def key(result: dict[str, Any]) -> tuple[str, list[int], int]:
    return result["model"], result["image_size"], result["seed"]


def table(results: list[dict[str, Any]]) -> str:
    """The table of `docs/how-to/explain.md`, Markdown: means over trainings, and the lowest and highest of them."""
    rows = [
        "| model, pixels, trainings | method, layers | hottest point in the lesion | deletion | insertion |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (model, (side, _)), trainings in groupby(results, key=lambda each: key(each)[:2]):
        group = list(trainings)
        name = f"{model}, {side}, {len(group)}"
        chosen = [each["by_default"] for each in group]
        words = f"{_layers(chosen[0])} (by default)"
        figures = [_words([each["pointing"]["share"]["value"] for each in chosen])]
        figures += [_words([each["removal"][part]["gain"]["value"] for each in chosen]) for part in PARTS]
        rows.append(f"| {name} | {words} | {' | '.join(figures)} |")
        for places in zip(*(each["stages"] for each in group), strict=True):
            share = _words([each["pointing"]["value"] for each in places])
            rows.append(f"| {name} | {_layers(places[0])} | {share} | | |")
    return "\n".join(rows) + "\n"


def _layers(row: dict[str, Any]) -> str:
    return f"{row['method']}, {', '.join(f'`{layer}`' for layer in row['layers'])}"


def _words(values: list[float]) -> str:
    mean = f"{sum(values) / len(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.2f} to {max(values):.2f})"


def commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude", "*"], capture_output=True, text=True)
    return found.stdout.strip()


if __name__ == "__main__":
    main()
