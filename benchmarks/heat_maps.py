"""Whether heat maps mean something, and which layer they are best made from, on phantoms, whose lesions are known.

    python benchmarks/heat_maps.py [RUN ...] [--model medmamba_nano] [--image-size 64 64] [--device cpu]

Takes models that were trained on `phantoms`, or trains one. For each it runs `check_heat_maps` with the method and
layers by default, and pointing and removal for each stage, and writes both to `benchmarks/results/heat-maps.json`, by
model and image size. The phantoms that are looked at have another seed than those of the training.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import medmamba
from medmamba.data import Dataset, open_data
from medmamba.explain import check_heat_maps
from medmamba.predictor import Classifier

RESULTS = Path(__file__).parent / "results" / "heat-maps.json"
PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "explain.md"
BEGIN, END = "<!-- results: benchmarks/results/heat-maps.json -->", "<!-- end of results -->"
METHODS = ("gradcam", "layercam")
STAGES = (("stages.0",), ("stages.1",), ("stages.2",), ("stages.3",), ("stages.1", "stages.2", "stages.3"))
SEED = 1  # of the phantoms that are looked at: those of the training have 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of models trained on phantoms")
    parser.add_argument("--model", default="medmamba_nano", help="to be trained where no run is given")
    parser.add_argument("--image-size", type=int, nargs=2, default=[64, 64])
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--n", type=int, default=100, help="images of the check by default")
    parser.add_argument("--n-stages", type=int, default=50, help="images of each row of the table of stages")
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = arguments.runs or [train(arguments, Path(folder) / "run")]
        for run in runs:
            write(measure(run, arguments))


def train(arguments: argparse.Namespace, out: Path) -> Path:
    return medmamba.fit(
        "phantoms",
        out=out,
        model=arguments.model,
        recipe=arguments.recipe,
        image_size=tuple(arguments.image_size),
        channels=1,
        device=arguments.device,
    )


def measure(run: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    classifier = medmamba.load(run, device=arguments.device)
    data = open_data("phantoms", seed=SEED)
    by_default = check_heat_maps(classifier, data, n=arguments.n)
    print(json.dumps(by_default, indent=1), flush=True)
    stages = []
    for layers in STAGES:
        for method in METHODS:
            stages.append(stage(classifier, data, method, layers, arguments.n_stages))
            print(stages[-1], flush=True)
    provenance = classifier.bundle.provenance
    return {
        "model": classifier.bundle.model,
        "image_size": by_default["image_size"],
        "trained": {name: provenance.get(name) for name in ("recipe", "epochs", "seed", "device", "validation")},
        "commit": arguments.commit or commit(),
        "device": f"{classifier.device}: {platform.processor() or platform.machine()}",
        "phantoms_seed": SEED,
        "by_default": by_default,
        "stages": stages,
    }


def stage(classifier: Classifier, data: Dataset, method: str, layers: tuple[str, ...], n: int) -> dict[str, Any]:
    """A row: pointing and removal, without randomisation."""
    found = check_heat_maps(classifier, data, n=n, method=method, layers=layers, parts=("removal", "pointing"))
    removal, pointing = found["removal"], found["pointing"]
    gains = {name: removal[name]["gain"] if name in removal else None for name in ("deletion", "insertion")}
    return {
        "method": method,
        "layers": list(layers),
        "cells": found["cells"],
        "n": found["n"],
        "empty_maps": found["empty_maps"],
        "pointing": pointing.get("share"),
        "pointing_n": pointing["n"],
        **gains,
    }


def write(result: dict[str, Any]) -> None:
    """Put a result in the place of the earlier one of its model and image size."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    key = (result["model"], result["image_size"])
    results = [each for each in results if (each["model"], each["image_size"]) != key] + [result]
    results.sort(key=lambda each: (each["model"], each["image_size"]))
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    page = PAGE.read_text()
    start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    PAGE.write_text(page[:start] + "\n" + table(results) + page[end:])


def table(results: list[dict[str, Any]]) -> str:
    """The table of `docs/how-to/explain.md`, Markdown."""
    rows = [
        "| model, pixels | method, layers | hottest point in the lesion | deletion | insertion |",
        "| --- | --- | --- | --- | --- |",
    ]
    for result in results:
        name = f"{result['model']}, {result['image_size'][0]}"
        chosen = result["by_default"]
        removal, pointing = chosen["removal"], chosen["pointing"]
        gains = {part: removal[part]["gain"] for part in ("deletion", "insertion")}
        first = {**chosen, **gains, "pointing": pointing["share"]}
        for row, mark in ((first, f" (by default, n = {chosen['n']})"), *((each, "") for each in result["stages"])):
            layers = ", ".join(f"`{layer}`" for layer in row["layers"])
            figures = " | ".join(_words(row[part]) for part in ("pointing", "deletion", "insertion"))
            rows.append(f"| {name} | {row['method']}, {layers}{mark} | {figures} |")
    return "\n".join(rows) + "\n"


def _words(figure: dict[str, float] | None) -> str:
    return "-" if figure is None else "{value:.2f} ({low:.2f} to {high:.2f})".format(**figure)


def commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude", "*"], capture_output=True, text=True)
    return found.stdout.strip()


if __name__ == "__main__":
    main()
