"""A run of the AutoML baseline: a classical model on pixels or on a network's frozen features, chosen by FLAML.

The paper's tables have auto-sklearn, AutoKeras and Google's service here. This one stands in auto-sklearn's place; the
other two are cited from print and not run.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import medmamba
from medmamba.data import Dataset, Preprocessing
from medmamba.data.dataset import ImageSet
from medmamba.data.related import check_unseen, sources_of
from medmamba.errors import InputError
from medmamba.metrics import accuracy, auc, summarise
from medmamba.paper.flaml_search import Budget, Found, Table, require_flaml, search
from medmamba.paper.run_file import RESIZE, SCHEMA, figures_of_test, rounded, write_run
from medmamba.tasks import Task, decide

if TYPE_CHECKING:
    from medmamba.predictor import Classifier

PIXELS = "pixels"
SIDE = 28  # pixels, MedMNIST's smallest; larger images are squashed to it


class View(Protocol):
    """What a classical model sees of images.

    Attributes:
        model: What a run is called with it.
        model_args: What more is to be known of it, as JSON takes it.
        image_size: Height and width in pixels from which it is made.
    """

    model: str
    model_args: dict[str, Any]
    image_size: tuple[int, int]

    def rows(self, images: ImageSet) -> np.ndarray:
        """One row of numbers for each image, (n, d), float32."""
        ...


class Pixels:
    """Pixels of 28 x 28, in 0 to 1; grey if the first training image is, else RGB."""

    model = "automl-pixels"
    image_size = (SIDE, SIDE)

    def __init__(self, train: ImageSet) -> None:
        channels = 1 if train.read(0).ndim == 2 else 3
        self.model_args: dict[str, Any] = {"channels": channels}
        self._shape = Preprocessing(SIDE, SIDE, channels=channels)

    def rows(self, images: ImageSet) -> np.ndarray:
        """(n, channels * 28 * 28)."""
        rows = [self._shape.pixels(images.read(index)).ravel() for index in range(len(images))]
        return np.stack(rows).astype(np.float32) / 255


class Frozen:
    """Pooled features of a trained network, which stays as it is."""

    model = "automl-features"

    def __init__(self, classifier: Classifier) -> None:
        bundle = classifier.bundle
        trained_on = bundle.provenance.get("data") or {}
        self.model_args: dict[str, Any] = {
            "network": bundle.model,
            **bundle.model_args,
            "trained_on": trained_on.get("name"),
            "seed": bundle.provenance.get("seed"),
        }
        self.image_size = (bundle.preprocessing.height, bundle.preprocessing.width)
        self._classifier = classifier

    def rows(self, images: ImageSet) -> np.ndarray:
        """(n, features before the last layer)."""
        return self._classifier.features_and_scores(images)[0]


@dataclass(frozen=True)
class Origin:
    """Where a run comes from, which the code cannot tell.

    Attributes:
        command: The command line that makes the same.
        commit: Of this code.
        processor: What it calls itself.
    """

    command: str | None = None
    commit: str | None = None
    processor: str | None = None


def run(
    data: Dataset,
    out: str | os.PathLike[str],
    *,
    budget: Budget,
    seed: int = 0,
    features: str | os.PathLike[str] = PIXELS,
    name: str | None = None,
    threads: int = 1,
    origin: Origin | None = None,
) -> Path:
    """Choose a classical model on train and val, score the test split once, and write the run's two files.

    Args:
        data: Has the splits train, val and test; one class an image.
        out: Folder of the results; the run goes to `runs/NAME/MODEL/RECIPE-SIZE-seedN.json` in it, and its scores to
            the `.npz` beside it.
        budget: When the search ends. With seconds a run is not repeatable, with trials it is.
        seed: Of the search and of the models, 0 or more.
        features: `pixels`, or the folder of a trained model whose features are used.
        name: What the data set is called among the results; its own name by default.
        threads: Of each model.
        origin: What more is recorded.

    Returns:
        The JSON file.

    Raises:
        InputError: FLAML is missing, a split is missing or has too little in it, an image cannot be read, the data set
            is multi-label, or the network may have seen the test images.
        FailedError: No model was ready in time.
    """
    require_flaml()
    if missing := [split for split in ("train", "val", "test") if split not in data.splits]:
        raise InputError(f"{data.name} has no split {missing[0]!r}; the AutoML baseline needs train, val and test")
    if data.task is Task.MULTILABEL:
        raise InputError(f"{data.name} is multi-label; the AutoML baseline takes data sets with one class an image")
    train, val = data.split("train"), data.split("val")
    view = Pixels(train) if features == PIXELS else Frozen(_open(features, data))
    known, chosen_by = (Table(view.rows(images), images.targets) for images in (train, val))
    classes, positive = len(data.classes), data.positive
    # which has no way to the test split
    found = search(data.task, known, chosen_by, classes, budget, positive=positive, seed=seed, threads=threads)
    outcome: dict[str, Any] = {"train_images": len(train), "train_seconds": found.record["wall_seconds"]}
    outcome["validation"] = _validation(data, found, chosen_by)
    test = data.split("test")
    scores = rounded(found.scores(view.rows(test)))
    settings = _settings(data, view, found, name or data.name, f"flaml-{budget}", origin or Origin())
    settings["source_size"] = list(data.size or train.read(0).shape[:2])
    path = Path(out) / "runs" / _place(settings)
    return write_run(path, {**settings, **outcome, **_test(data, scores, test)}, scores, test)


def _open(folder: str | os.PathLike[str], data: Dataset) -> Classifier:
    from medmamba.predictor import load

    classifier = load(folder, device="cpu")
    check_unseen(data, classifier.bundle.provenance, ())
    return classifier


def _place(settings: Mapping[str, Any]) -> str:
    """Of a run among the results: `busi/automl-pixels/flaml-60s-28-seed0.json`."""
    height, width = settings["image_size"]
    words = [settings["recipe"], str(height) if height == width else f"{height}x{width}"]
    if (network := settings["model_args"].get("network")) is not None:
        words.append(re.sub(r"\W+", "_", network))
    return f"{settings['data']}/{settings['model']}/{'-'.join(words)}-seed{settings['seed']}.json"


def _settings(data: Dataset, view: View, found: Found, name: str, recipe: str, origin: Origin) -> dict[str, Any]:
    """What was run, on what."""
    packages = {package: version(package) for package in ("numpy", "scikit-learn", "lightgbm", "flaml")}
    return {
        "schema": SCHEMA,
        "data": name,
        "file": data.name,
        "fingerprint": data.fingerprint(),
        "derived_from": list(sources_of(data)),
        "notes": list(data.notes),
        "task": str(data.task),
        "classes": list(data.classes),
        "positive": data.positive,
        "image_size": list(view.image_size),
        "resize": RESIZE,
        "model": view.model,
        "model_args": view.model_args,
        "recipe": recipe,
        "search": found.record,
        "seed": found.record["seed"],
        "command": origin.command,
        "commit": origin.commit,
        "device": f"cpu, {platform.machine()}",
        "processor": origin.processor,
        "versions": {"medmamba": medmamba.__version__, "python": platform.python_version(), **packages},
        "epochs": None,
        "best_epoch": None,
    }


def _validation(data: Dataset, found: Found, val: Table) -> dict[str, Any]:
    scores = found.scores(val.values)
    decided = decide(data.task, scores, positive=data.positive)
    return {
        "n": len(val.targets),
        "auc": auc(data.task, scores, val.targets, data.positive),
        "accuracy": accuracy(decided, val.targets),
    }


def _test(data: Dataset, scores: np.ndarray, images: ImageSet) -> dict[str, Any]:
    report = summarise(data.task, scores, images.targets, data.classes, positive=data.positive, groups=images.groups)
    return figures_of_test(report)
