"""Search the numbers of the recipe `strong` with Optuna, on training and validation images alone; all is recorded.

    python benchmarks/search_recipe.py DATA [--out FILE] [--trials 48] [--devices 4] [--per-device 4] [--deadline 540]

Each trial trains medmamba_tiny at 112 x 112 on small parts of RetinaMNIST, PneumoniaMNIST and BCCD's cells: 500 images
of the training split to train on, 60 to choose the epoch, and those that are left, with the validation split, to judge
what was chosen: so the epoch is chosen as by a user who has few images, and judged on many. The score is the mean over
the sets of AUC and accuracy. The best trials, and the recipe as it was, are then trained at 224 x 224 with another seed
for twice as long, and the best of these is the recipe. BUSI and BreastMNIST are not opened, so that the recipe may be
tested on both; no test split is. What a file holds already is taken into account, and what the deadline cuts is thrown
away.
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml

from medmamba.data import Dataset, open_data
from medmamba.json_file import write_json
from medmamba.paper.sets import locate

RESULTS = Path(__file__).parent / "results" / "recipe-search.json"
SETS = ("retinamnist", "bccd", "pneumoniamnist")
MODEL = "medmamba_tiny"
TRAIN, CHOOSE, JUDGE = 500, 60, 1000  # images at most
LEAST, MOST = 20, 200  # epochs
SIDE, SEED, IMAGES = 112, 0, 40_000  # of the trials; images are those that a run goes through
FINAL_SIDE, FINAL_SEED, FINAL_IMAGES = 224, 1, 80_000  # of the finalists
FINALISTS = 4
FINALS = 0.42  # share of the time until the deadline that is left for them
SPACE: dict[str, optuna.distributions.BaseDistribution] = {
    "lr": optuna.distributions.FloatDistribution(3e-4, 3e-3, log=True),
    "weight_decay": optuna.distributions.CategoricalDistribution((0.05, 0.2)),
    "batch_size": optuna.distributions.CategoricalDistribution((32, 64)),
    "augment": optuna.distributions.CategoricalDistribution(("light", "autoaugment", "trivial", "trivial-grey")),
    "mixup": optuna.distributions.CategoricalDistribution((0.0, 0.2, 0.8)),
    "label_smoothing": optuna.distributions.CategoricalDistribution((0.0, 0.1)),
    "ema": optuna.distributions.CategoricalDistribution((0.99, 0.998)),
    "drop_path_rate": optuna.distributions.CategoricalDistribution((0.1, 0.3)),
    "choose_from": optuna.distributions.CategoricalDistribution((0.0, 0.75)),
}
# the recipe before the search, as near as the space comes to it
START = {"lr": 5e-4, "weight_decay": 0.05, "batch_size": 32, "augment": "trivial", "mixup": 0.2}
START |= {"label_smoothing": 0.1, "ema": 0.998, "drop_path_rate": 0.1, "choose_from": 0.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with medmnist/*.npz and bccd_cells")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--trials", type=int, default=48, help="in all, those of the file included")
    parser.add_argument("--devices", type=int, default=1, help="CUDA devices; 0 for the processor")
    parser.add_argument("--per-device", type=int, default=4)
    parser.add_argument("--deadline", type=float, default=float("inf"), help="seconds")
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a training in a process of its own
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(judged(arguments.data, **json.loads(arguments.one))))
        return 0
    search = Search(arguments)
    search.explore()
    search.decide()
    print(json.dumps(search.best(), indent=1))
    return 0


@dataclass
class Search:
    """The study and what is at work; threads share it."""

    arguments: argparse.Namespace
    began: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        found = json.loads(self.arguments.out.read_text()) if self.arguments.out.exists() else {}
        self.trials: list[dict[str, Any]] = found.get("trials", [])
        self.finalists: list[dict[str, Any]] = found.get("finalists", [])
        for each in (*self.trials, *self.finalists):
            each.setdefault("commit", found.get("commit"))  # a file of before each had its own
        self.asked = len(self.trials)
        self.study = optuna.create_study(direction="maximize", sampler=sampler(self.asked))
        for each in self.trials:
            self.study.add_trial(
                optuna.trial.create_trial(params=each["settings"], distributions=SPACE, value=each["score"])
            )
        if not self.trials:
            self.study.enqueue_trial(START)
        devices = [f"cuda:{index}" for index in range(self.arguments.devices)] or ["cpu"]
        self.places = devices * self.arguments.per_device

    def left(self) -> float:
        """Seconds."""
        return self.arguments.deadline - (time.monotonic() - self.began)

    def explore(self) -> None:
        """Trials, until there are enough or there is no time for another."""
        with ThreadPoolExecutor(len(self.places)) as pool:
            list(pool.map(self.work, self.places))

    def work(self, place: str) -> None:
        """Trials on one device."""
        while True:
            with self.lock:
                seconds = [each["seconds"] for each in self.trials]
                expected = sum(seconds) / len(seconds) if seconds else 0.0
                over = self.left() - expected < FINALS * self.arguments.deadline < float("inf")
                if over or self.asked >= self.arguments.trials:
                    return
                self.asked += 1
                trial = self.study.ask(SPACE)
            if (found := self.run(trial.params, SETS, place, side=SIDE, seed=SEED, images=IMAGES)) is None:
                return
            with self.lock:
                self.study.tell(trial, found["score"])
                self.trials.append(found)
                self.write()
                print(f"{len(self.trials)}: {found['score']:.4f} {trial.params}", file=sys.stderr, flush=True)

    def decide(self) -> None:
        """Finalists at full size, a process for each data set."""
        ranked = sorted(self.trials, key=lambda each: -each["score"])[:FINALISTS]
        wanted = [each["settings"] for each in ranked]
        wanted += [START] if START not in wanted else []
        known = [each["settings"] for each in self.finalists]
        wanted = [settings for settings in wanted if settings not in known]
        jobs = [(settings, name) for settings in wanted for name in SETS]
        places = [self.places[number % len(self.places)] for number in range(len(jobs))]

        def run(job: tuple[dict[str, Any], str], place: str) -> dict[str, Any] | None:
            length = {"side": FINAL_SIDE, "seed": FINAL_SEED, "images": FINAL_IMAGES}
            return self.run(job[0], (job[1],), place, **length)

        with ThreadPoolExecutor(len(self.places)) as pool:
            found = list(pool.map(run, jobs, places))
        for number, settings in enumerate(wanted):
            parts = found[number * len(SETS) : (number + 1) * len(SETS)]
            if None not in parts:
                sets = {name: figures for part in parts if part for name, figures in part["sets"].items()}
                finalist = {"settings": settings, "score": score(sets), "sets": sets}
                self.finalists.append(finalist | {"commit": self.arguments.commit})
        self.write()

    def run(self, settings: dict[str, Any], sets: Sequence[str], place: str, **rest: int) -> dict[str, Any] | None:
        """What a training on each of some data sets gave; None if time ran out."""
        began = time.monotonic()
        kind, _, index = place.partition(":")
        cores = max(1, (os.cpu_count() or 1) // len(self.places))
        job = {"settings": settings, "sets": sets, "device": kind, "workers": cores if kind == "cuda" else 0, **rest}
        if (found := train(self.arguments.data, job, cores, index, self.left())) is None:
            return None
        seconds = round(time.monotonic() - began, 1)
        found = {"settings": settings, "score": score(found), "sets": found, "seconds": seconds}
        return found | {"commit": self.arguments.commit}

    def write(self) -> None:
        """Record what is finished."""
        about = {"model": MODEL, "sets": SETS, "start": START}
        about |= {"parts": {"train": TRAIN, "choose": CHOOSE, "judge": JUDGE}}
        about |= {"of_trials": {"image_size": [SIDE, SIDE], "seed": SEED, "images": IMAGES}}
        about |= {"of_finalists": {"image_size": [FINAL_SIDE] * 2, "seed": FINAL_SEED, "images": FINAL_IMAGES}}
        write_json(self.arguments.out, {**about, "trials": self.trials, "finalists": self.finalists})

    def best(self) -> dict[str, Any] | None:
        """The finalist with the highest score."""
        return max(self.finalists, key=lambda each: each["score"], default=None)


def sampler(asked: int) -> optuna.samplers.BaseSampler:
    """Many trials are at work at once, so each is pushed away from those that are not told yet."""
    return optuna.samplers.TPESampler(seed=SEED + asked, multivariate=True, constant_liar=True, n_startup_trials=16)


def score(sets: dict[str, dict[str, Any]]) -> float:
    """Mean over the sets of AUC and accuracy."""
    return sum(each["auc"] + each["accuracy"] for each in sets.values()) / (2 * len(sets))


def train(data: Path, job: dict[str, Any], cores: int, index: str, seconds: float) -> dict[str, dict[str, Any]] | None:
    """What `judged` gives, from a process of its own; None if it did not end in time."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(cores))  # many processes share the cores
    environment = os.environ | threads | ({"CUDA_VISIBLE_DEVICES": index} if index else {})
    command = [sys.executable, __file__, str(data), "--one", json.dumps(job)]
    limit = None if seconds == float("inf") else max(seconds, 0.1)
    try:
        ended = subprocess.run(command, env=environment, check=True, capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    except subprocess.CalledProcessError as reason:
        raise SystemExit(f"a trial failed: {reason.stderr.decode()[-2000:]}") from reason
    found: dict[str, dict[str, Any]] = json.loads(ended.stdout.splitlines()[-1])
    return found


def judged(
    folder: Path,
    settings: dict[str, Any],
    sets: Sequence[str],
    side: int,
    seed: int,
    images: int,
    device: str,
    workers: int,
) -> dict[str, dict[str, Any]]:
    """Train on the part of each data set that is for it, and judge the epoch that was chosen on another part."""
    from medmamba.metrics import auc
    from medmamba.predictor import load
    from medmamba.tasks import decide
    from medmamba.training import TrainConfig, fit

    found = {}
    for name in sets:
        data, began = parts(open_data(locate(folder, name))), time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            recipe, out = Path(work) / "trial.yaml", Path(work) / "run"
            recipe.write_text(yaml.safe_dump(recipe_of(settings, images)))
            options = {"model": MODEL, "image_size": (side, side), "device": device, "workers": workers}
            config = TrainConfig(recipe=str(recipe), seed=seed, save_seconds=1e9, progress=False, **options)
            fit(data, out=out, config=config)
            classifier = load(out, device=device)
            judges, bundle = data.split("test"), classifier.bundle
            scores = classifier.scores(judges)
            answers = decide(bundle.task, scores, threshold=0.5, positive=bundle.positive)
            found[name] = {
                "auc": auc(bundle.task, scores, judges.targets, bundle.positive),
                "accuracy": float((answers == judges.targets).mean()),
                "n": len(judges),
                "best_epoch": bundle.provenance["best_epoch"],
                "epochs": bundle.provenance["epochs"],
                "device": bundle.provenance["device"],
                "seconds": round(time.monotonic() - began, 1),
            }
    return found


def parts(data: Dataset) -> Dataset:
    """A data set whose splits are cut from the training and validation split of another, the same in every trial.

    `train` and `val` come from its training split; `test`, which judges, from what is left and the validation split.
    """
    seen = replace(data, splits={name: data.splits[name] for name in ("train", "val")}).split("all")
    count = len(data.split("train"))
    rng = np.random.default_rng(SEED)
    order = rng.permutation(count)
    rest = rng.permutation(np.concatenate([order[TRAIN + CHOOSE :], np.arange(count, len(seen))]))
    cut = {"train": order[:TRAIN], "val": order[TRAIN : TRAIN + CHOOSE], "test": rest[:JUDGE]}
    return replace(data, splits={name: lambda rows=rows: seen.take(np.sort(rows)) for name, rows in cut.items()})


def recipe_of(settings: dict[str, Any], images: int) -> dict[str, Any]:
    """What a trial's YAML file holds, for a run that goes through so many images."""
    augment = {"trivial": {"grey": "trivial-grey", "colour": "trivial"}}.get(settings["augment"], settings["augment"])
    steps = round(images / settings["batch_size"])
    rest = {"optimizer": "adamw", "schedule": "cosine", "warmup_epochs": 5}
    return {**rest, **settings, "augment": augment, "epochs": {"steps": steps, "least": LEAST, "most": MOST}}


if __name__ == "__main__":
    sys.exit(main())
