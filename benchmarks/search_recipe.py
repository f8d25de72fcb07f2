"""Search the numbers of the recipe `strong` with Optuna, on validation images alone; every trial is recorded.

    python benchmarks/search_recipe.py DATA [--out FILE] [--trials 40] [--devices 4] [--per-device 3] [--deadline 540]

Each trial trains medmamba_tiny on RetinaMNIST, PneumoniaMNIST and BCCD's cells, all at 224 x 224, and is judged by the
mean over the three of validation AUC and accuracy at the epoch that AUC chose. BUSI and BreastMNIST are not opened, so
that the recipe may be tested on both; no test split is. Trials that a file holds already are taken into account, and
a trial that the deadline cuts is thrown away.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import yaml

from medmamba.bundle import load_bundle, write_json
from medmamba.paper.sets import SOURCES, locate
from medmamba.training.recipe import load_recipe

RESULTS = Path(__file__).parent / "results" / "recipe-search.json"
SETS = ("retinamnist", "bccd", "pneumoniamnist")
MODEL, SIDE, SEED = "medmamba_tiny", 224, 0
BASE = "strong"
LEAST, MOST = 20, 200  # epochs
SPACE: dict[str, optuna.distributions.BaseDistribution] = {
    "lr": optuna.distributions.FloatDistribution(2e-4, 2e-3, log=True),
    "weight_decay": optuna.distributions.FloatDistribution(0.01, 0.3, log=True),
    "augment": optuna.distributions.CategoricalDistribution(("light", "autoaugment", "trivial")),
    "mixup": optuna.distributions.CategoricalDistribution((0.0, 0.2, 0.5)),
    "label_smoothing": optuna.distributions.CategoricalDistribution((0.0, 0.1)),
    "ema": optuna.distributions.CategoricalDistribution((None, 0.99, 0.995, 0.999)),
    "drop_path_rate": optuna.distributions.CategoricalDistribution((0.1, 0.2, 0.3)),
    "batch_size": optuna.distributions.CategoricalDistribution((32, 64, 128)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with medmnist/*.npz and bccd_cells")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--trials", type=int, default=40, help="in all, those of the file included")
    parser.add_argument("--images", type=int, default=100_000, help="training images a run goes through at the most")
    parser.add_argument("--devices", type=int, default=1, help="CUDA devices; 0 for the processor")
    parser.add_argument("--per-device", type=int, default=2)
    parser.add_argument("--deadline", type=float, default=float("inf"), help="seconds")
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    search = Search(arguments)
    places = [f"cuda:{index}" for index in range(arguments.devices)] * arguments.per_device or ["cpu"]
    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(search.work, places))
    print(json.dumps(search.best(), indent=1))
    return 0


@dataclass
class Search:
    """The study and what is at work; threads share it."""

    arguments: argparse.Namespace
    began: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        out = self.arguments.out
        self.trials: list[dict[str, Any]] = json.loads(out.read_text())["trials"] if out.exists() else []
        self.asked = len(self.trials)
        self.study = optuna.create_study(direction="maximize", sampler=sampler(self.asked))
        for each in self.trials:
            self.study.add_trial(
                optuna.trial.create_trial(params=each["settings"], distributions=SPACE, value=each["score"])
            )
        if not self.trials:
            self.study.enqueue_trial(start())

    def work(self, place: str) -> None:
        """Trials on one device until there are enough or there is no time."""
        while self.left() > 0:
            with self.lock:
                if self.asked >= self.arguments.trials:
                    return
                self.asked += 1
                trial = self.study.ask(SPACE)
            if (sets := self.run(trial.params, place)) is None:
                return
            score = sum(each["auc"] + each["accuracy"] for each in sets.values()) / (2 * len(sets))
            with self.lock:
                self.study.tell(trial, score)
                self.note({"settings": trial.params, "score": score, "sets": sets, "device": place})

    def left(self) -> float:
        """Seconds."""
        return self.arguments.deadline - (time.monotonic() - self.began)

    def run(self, settings: dict[str, Any], place: str) -> dict[str, dict[str, Any]] | None:
        """Validation figures by data set; None if time ran out."""
        found = {}
        with tempfile.TemporaryDirectory() as folder:
            for name in SETS:
                recipe = Path(folder) / "trial.yaml"
                recipe.write_text(yaml.safe_dump(recipe_of(settings, SOURCES[name].train, self.arguments.images)))
                out = Path(folder) / name
                began = time.monotonic()
                if not train(locate(self.arguments.data, name), out, recipe, place, self.left()):
                    return None
                found[name] = figures(out) | {"seconds": round(time.monotonic() - began, 1)}
        return found

    def note(self, trial: dict[str, Any]) -> None:
        """Record a finished trial."""
        self.trials.append(trial)
        about = {"model": MODEL, "image_size": [SIDE, SIDE], "seed": SEED, "sets": SETS, "base": BASE}
        about |= {"images": self.arguments.images, "commit": self.arguments.commit}
        write_json(self.arguments.out, {**about, "trials": self.trials})
        print(f"{len(self.trials)}: {trial['score']:.4f} {trial['settings']}", file=sys.stderr, flush=True)

    def best(self) -> dict[str, Any] | None:
        """The trial with the highest score."""
        return max(self.trials, key=lambda each: each["score"], default=None)


def sampler(asked: int) -> optuna.samplers.BaseSampler:
    """Many trials are at work at once, so each is pushed away from those that are not told yet."""
    return optuna.samplers.TPESampler(seed=SEED + asked, multivariate=True, constant_liar=True, n_startup_trials=12)


def start() -> dict[str, Any]:
    """The recipe as it is."""
    recipe = load_recipe(BASE)
    return {name: getattr(recipe, name) for name in SPACE} | {"augment": "trivial"}


def recipe_of(settings: dict[str, Any], train_images: int, images: int) -> dict[str, Any]:
    """What a trial's YAML file holds: the same work for every data set, in bounds."""
    rest = {"optimizer": "adamw", "schedule": "cosine", "warmup_epochs": 5}
    augment = {"trivial": {"grey": "trivial-grey", "colour": "trivial"}}.get(settings["augment"], settings["augment"])
    return {**rest, **settings, "augment": augment, "epochs": max(LEAST, min(MOST, images // train_images))}


def train(data: Path, out: Path, recipe: Path, place: str, seconds: float) -> bool:
    """Whether it ended in time."""
    kind, _, index = place.partition(":")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": index} if kind == "cuda" else dict(os.environ)
    command = [sys.executable, "-m", "medmamba", "train", str(data), "--out", str(out), "--model", MODEL]
    command += ["--recipe", str(recipe), "--image-size", str(SIDE), str(SIDE), "--seed", str(SEED), "--device", kind]
    try:
        subprocess.run(
            command, env=environment, check=True, capture_output=True, timeout=seconds if seconds < 1e9 else None
        )
    except subprocess.TimeoutExpired:
        return False
    except subprocess.CalledProcessError as reason:
        raise SystemExit(f"a trial failed: {reason.stderr.decode()[-2000:]}") from reason
    return True


def figures(run: Path) -> dict[str, Any]:
    """Of the epoch that was kept, on the validation split."""
    outcome = load_bundle(run).provenance
    validation = outcome["validation"]
    right = sum(row["sensitivity"] * row["n"] for row in validation["per_class"] if row["n"])
    return {
        "auc": validation["auc"],
        "accuracy": right / validation["n"],
        "best_epoch": outcome["best_epoch"],
        "epochs": outcome["epochs"],
    }


if __name__ == "__main__":
    sys.exit(main())
