"""`medmamba calibrate`: fit decisions on the validation split and store them in the bundle."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from medmamba import __version__
from medmamba.calibration.choosing import OperatingPoint, choose
from medmamba.calibration.scope import fit_kind, with_limits
from medmamba.data import Dataset
from medmamba.data.dataset import ALL, ImageSet
from medmamba.data.related import seen_by
from medmamba.decisions import Decisions
from medmamba.errors import InputError
from medmamba.predictor import network
from medmamba.predictor.opening import open_for, open_split
from medmamba.predictor.scope import looks_of
from medmamba.tasks import Task

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def calibrate(
    folder: str | os.PathLike[str],
    data: Dataset | str | os.PathLike[str],
    *,
    split: str = "val",
    point: OperatingPoint | None = None,
    error: float | None = 0.1,
    refused: float | None = 0.05,
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
    batch_size: int = 64,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Choose how a trained model decides, on images that it was not fitted to, and store it in its bundle.

    Four things, in this order: a temperature (Guo et al. 2017), which changes how sure the model is and never its most
    probable class; the threshold of a binary task, or one for each label; prediction sets; and the scope, for which the
    training images are read too. All replace what was chosen before.

    Args:
        folder: A bundle.
        data: What it was trained on, opened with its classes; or what `open_data` takes. Other data of the same classes
            is possible too, another hospital's say; the scope stays as it was then.
        split: Which images decide; not `train`, to which the model was fitted, and neither `test` nor `all`, whose
            figures would be optimistic afterwards.
        point: Where to cut; None for a probability of 0.5.
        error: Share of images whose true class may be missing from its prediction set; None for no sets.
        refused: Share of the validation images that are told to be unlike the training images; None for no scope.
        group_column: The patient column of a table, as in training.
        label_columns: The label columns of a table, as in training.
        allow: Faults of the data to go on in spite of, names of `medmamba.data.faults.FAULTS`.
        batch_size: Images that go through the model at once.
        device: As for `medmamba.load`.
        progress: Called with (images done, images in all) after each batch.

    Returns:
        What `bundle.json` keeps as `decisions.fitted`: `data`, `fingerprint`, `split`, `n`, `date`, `version`,
        `temperature`, `threshold`, `point`, figures `before` and `after` on these images (`nll`, `brier`, `ece`),
        `prediction_sets`, `scope` and `notes`.

    Raises:
        InputError: The folder is no bundle, the data does not fit it or cannot be read, or an option is not possible.
            The bundle is what it was then.
    """
    point = point or OperatingPoint()
    _check(split, error, refused)
    loaded = network.load(folder, device=device)
    bundle = loaded.bundle
    if bundle.task not in (Task.BINARY, Task.MULTILABEL) and point != OperatingPoint():
        raise InputError(
            f"a {bundle.task} model answers its most probable class and has no threshold; leave {point} out"
        )
    plain = replace(bundle, threshold=0.5, decisions=Decisions())
    classifier = network.NetworkClassifier(plain, loaded.model, torch.device(loaded.device))
    data = open_for(plain, data, group_column=group_column, label_columns=label_columns, allow=allow)
    own = any(each.is_same(data) for each in seen_by(bundle.provenance)[-1:])
    images = open_split(data, split, [plain], allow=allow).images
    train = open_split(data, "train", [plain], allow=allow).images if refused is not None and own else None
    total = len(images) + len(train or ())
    logger.info("calibrating on %d images of the split %s of %s", len(images), split, data.name)
    seen = _examine(classifier, images, batch_size, progress, 0, total)
    decided = choose(plain, seen.scores, images, point, error)
    kind, notes = loaded.kind, list(decided.notes)
    if train is not None and refused is not None:
        learnt = _examine(classifier, train, batch_size, progress, len(images), total)
        kind = with_limits(fit_kind(learnt.features, train.targets, learnt.looks), seen.features, seen.looks, refused)
    elif refused is not None:
        notes.append("the scope was left as it was, since this is not the data that the model was trained on")
    scope = None if refused is None else bundle.decisions.scope if train is None else refused
    fitted = {
        "data": data.name,
        "fingerprint": data.fingerprint(),
        "split": split,
        "n": len(images),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        **decided.figures,
        "scope": None if scope is None or kind is None else {"refused": scope},
        "notes": notes,
    }
    packed = None if scope is None or kind is None else kind.pack()
    decisions = Decisions(decided.temperature, decided.conformal, scope, fitted)
    replace(bundle, threshold=decided.threshold, decisions=decisions).save_description(folder, scope=packed)
    return fitted


def _check(split: str, error: float | None, refused: float | None) -> None:
    for name, value in {"error": error, "refused": refused}.items():
        if value is not None and not 0 < value < 1:
            raise InputError(f"{name} {value:g} is not possible; give a share between 0 and 1, for example 0.1")
    if split == "train":
        raise InputError(
            "the split train is what the model was fitted to, so it is surer there than of new images; calibrate on "
            "the validation split"
        )
    if split in ("test", ALL):
        raise InputError(
            f"the split {split} is what the model is judged on afterwards; calibrate on the validation split"
        )


@dataclass(frozen=True, eq=False)
class Examined:
    """Of the images of a split, in its order: features (n, d), looks (n, s), probabilities (n, classes)."""

    features: np.ndarray
    looks: np.ndarray
    scores: np.ndarray


def _examine(
    classifier: network.NetworkClassifier,
    images: ImageSet,
    batch_size: int,
    progress: Progress | None,
    before: int,
    total: int,
) -> Examined:
    def answer(pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        features, scores = classifier.features_and_probabilities(pixels)
        return features, looks_of(pixels), scores

    def move(done: int, _: int) -> None:
        if progress is not None:
            progress(before + done, total)

    return Examined(*classifier.gather(images, answer, batch_size, move))
