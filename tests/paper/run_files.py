"""Run files as the runner writes them, with scores that are drawn."""

import json
from pathlib import Path

import numpy as np

from medmamba.metrics import summarise
from medmamba.paper.networks import network
from medmamba.paper.ours import run_of
from medmamba.tasks import Task

RATES = ("precision", "sensitivity", "specificity", "f1")


def write_run(out: Path, data: str, key: str, seed: int, *, classes: int = 2, n: int = 60, skill: float = 1.0) -> Path:
    """A run of a model of the tables; the higher `skill`, the better its scores."""
    about = network(key)
    path = run_of(data, about, seed).file(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    targets = np.random.default_rng(len(data)).permutation(np.arange(n) % classes)
    logits = np.random.default_rng((seed, len(key), len(data))).normal(size=(n, classes))
    logits[np.arange(n), targets] += skill
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = scores.round(5).astype(np.float32)
    np.savez_compressed(path.with_suffix(".npz"), scores=scores, targets=targets)
    task = Task.BINARY if classes == 2 else Task.MULTICLASS
    names = [str(label) for label in range(classes)]
    report = summarise(task, scores, targets, names, positive=classes - 1, threshold=0.5, resamples=0)
    found = {name: report[name] for name in ("accuracy", "auc")} | {name: report["macro"][name] for name in RATES}
    entries = {
        "schema": 1,
        "data": data,
        "task": str(task),
        "classes": names,
        "positive": classes - 1,
        "image_size": [about.image_size] * 2,
        "model": about.model,
        "model_args": {},
        "recipe": about.recipe(data),
        "seed": seed,
        "notes": ["drawn.npz is not the official file"],
        "commit": "0123456789abcdef",
        "device": "cpu",
        "train_seconds": 90.0,
        "epochs": 100,
        "best_epoch": 12,
        "test": {"n": n} | {name: {"value": figure["value"]} for name, figure in found.items()},
    }
    path.write_text(json.dumps(entries))
    return path
