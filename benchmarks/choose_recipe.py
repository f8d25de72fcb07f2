"""Choose the numbers of the `small` recipe: candidates on two data sets that no result is reported on.

    python benchmarks/choose_recipe.py RETINAMNIST.NPZ --out recipe-small.json [--processes 16]

RetinaMNIST's train split is halved: one half trains, the other, which training never sees, scores the candidate.
Phantoms are scored on 1,429 fresh ones. Neither has an image in common with BUSI, BreastMNIST or BCCD.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

BASE = {
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.05,
    "epochs": 40,
    "batch_size": 32,
    "schedule": "cosine",
    "warmup_epochs": 5,
    "augment": "light",
    "label_smoothing": 0.1,
    "ema": 0.99,
}
CANDIDATES: dict[str, dict[str, Any]] = {
    "base": {},
    "no augmentation": {"augment": "none"},
    "lr 3e-4": {"lr": 3e-4},
    "lr 2e-3": {"lr": 2e-3},
    "batch 16": {"batch_size": 16},
    "no average": {"ema": None},
    "drop path 0.3": {"drop_path_rate": 0.3},
    "weight decay 0.2": {"weight_decay": 0.2},
}
DATA = ("retina", "phantoms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("retina", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--only", nargs="*", default=list(CANDIDATES))
    parser.add_argument("--worker", nargs=3)
    arguments = parser.parse_args()
    if arguments.worker:
        name, data, seed = arguments.worker
        print(json.dumps(trial(name, data, int(seed), arguments.retina)))
        return
    jobs = [(name, data, str(seed)) for seed in arguments.seeds for data in DATA for name in arguments.only]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def work(job: tuple[str, str, str]) -> dict[str, Any]:
        command = [sys.executable, __file__, str(arguments.retina), "--out", "-", "--worker", *job]
        run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
        results.append(result)
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")
        print(result, file=sys.stderr, flush=True)
        return result

    results: list[dict[str, Any]] = []
    with ThreadPoolExecutor(arguments.processes) as pool:
        list(pool.map(work, jobs))


def trial(name: str, data: str, seed: int, retina: Path) -> dict[str, Any]:
    """Train one candidate with one seed; AUC of the epoch kept on images that training never saw."""
    import yaml

    import medmamba
    from medmamba.metrics import auc

    settings = BASE | CANDIDATES[name]
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "candidate.yaml"
        recipe.write_text(yaml.safe_dump(settings))
        if data == "retina":
            train, judge = halves(retina, Path(folder))
        else:
            train, judge = "phantoms", None
        start = time.perf_counter()
        run = medmamba.fit(
            train, out=Path(folder) / "run", model="medmamba_nano", recipe=str(recipe), image_size=(64, 64), seed=seed,
            device="cpu", progress=False,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        classifier = medmamba.load(run, device="cpu")
        opened = medmamba.open_data("phantoms:5000", seed=seed + 100) if judge is None else medmamba.open_data(judge)
        images = opened.split("test")
        scores = classifier.scores(images)
        area = auc(opened.task, scores, images.targets, opened.positive)
        origin = classifier.bundle.provenance
    return {
        "candidate": name,
        "settings": settings,
        "data": data,
        "seed": seed,
        "auc": area,
        "n": len(images),
        "validation_auc": origin["validation"]["auc"],
        "best_epoch": origin["best_epoch"],
        "train_seconds": round(seconds, 1),
    }


def halves(retina: Path, folder: Path) -> tuple[Path, Path]:
    """RetinaMNIST with half of its train split, and the same with the other half in the test split's place."""
    arrays = dict(np.load(retina))
    order = np.random.default_rng(0).permutation(len(arrays["train_images"]))
    one, two = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    paths = []
    for name, train, test in (("retinamnist_train", one, None), ("retinamnist_judge", one, two)):
        halved = {key: value[train] if key.startswith("train") else value for key, value in arrays.items()}
        for key in ("test_images", "test_labels"):  # the real test split is left out of both
            source = arrays[key.replace("test", "train")]
            halved[key] = source[two if test is None else test][:1] if test is None else source[test]
        path = folder / f"{name}.npz"
        np.savez(path, **halved)
        paths.append(path)
    return paths[0], paths[1]


if __name__ == "__main__":
    main()
