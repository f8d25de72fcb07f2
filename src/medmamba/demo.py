"""A whole run on built-in data: train, calibrate, evaluate and predict on phantoms."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmamba.bundle import load_bundle
from medmamba.data.dataset import ImageSet
from medmamba.data.phantoms import CLASSES
from medmamba.errors import FailedError, InputError
from medmamba.predictor import Prediction

logger = logging.getLogger(__name__)

DATA = "phantoms"
MODEL = "medmamba_nano"
RECIPE = "quick"
IMAGE_SIZE = (64, 64)
PICTURES = 6


@dataclass(frozen=True)
class Demo:
    """What a demonstration made.

    Attributes:
        run: Folder of the trained model.
        report: As `medmamba.evaluate` gives it, on the test split.
        pictures: Folder with a few images of the test split.
        predictions: One for each picture.
    """

    run: Path
    report: dict[str, Any]
    pictures: Path
    predictions: list[Prediction]


def run_demo(folder: Path, *, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> Demo:
    """Train nano on phantoms, calibrate and evaluate it, and let it classify a few images of the test split.

    Args:
        folder: Where all of it goes; new or empty.
        seed: Decides the phantoms and the training.
        progress: Of the evaluation, called with (images done, images in all).

    Raises:
        InputError: The folder is not free.
        FailedError: The training was stopped.
    """
    from medmamba.calibration import calibrate
    from medmamba.data import open_data
    from medmamba.evaluation import evaluate
    from medmamba.predictor import load
    from medmamba.training import TrainConfig, fit

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already; name another folder with --out, or remove it")
    data = open_data(DATA, seed=seed)
    run = folder / "run"
    config = TrainConfig(model=MODEL, recipe=RECIPE, image_size=IMAGE_SIZE, channels=1, seed=seed)
    fit(data, out=run, config=config, command="medmamba demo")
    ended = str(load_bundle(run).provenance["ended"])
    if ended.startswith("stopped"):
        raise FailedError(f"the demo's training was {ended}; remove {folder} and begin again")
    calibrate(run, data)
    classifier = load(run)
    report = evaluate(classifier, data, out=run / "evaluation-test", progress=progress)
    pictures = folder / "images"
    _write_pictures(data.split("test"), pictures)
    return Demo(run, report, pictures, classifier.predict(pictures))


def _write_pictures(images: ImageSet, folder: Path) -> None:
    from PIL import Image

    folder.mkdir()
    for i in range(PICTURES):
        Image.fromarray(images.read(i)).save(folder / f"phantom-{i}-{CLASSES[images.targets[i]]}.png")
