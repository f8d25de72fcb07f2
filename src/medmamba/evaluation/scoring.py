"""Score a split with a trained model, and write down all that was found."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medmamba.bundle import Bundle
from medmamba.data import Dataset, check_outside
from medmamba.data.dataset import ImageSet
from medmamba.drawing import require_matplotlib
from medmamba.errors import InputError
from medmamba.evaluation import plots, trust
from medmamba.evaluation.subgroups import check_columns, divide
from medmamba.json_file import write_json
from medmamba.metrics import class_curves, summarise
from medmamba.predictor.opening import open_split
from medmamba.predictor.record import about_run, in_spite
from medmamba.tasks import Task, decide
from medmamba.text import spreadsheet_cell
from medmamba.writing import make_folder, writable_folder, write_atomically

if TYPE_CHECKING:
    from medmamba.predictor import Classifier

logger = logging.getLogger(__name__)


def evaluate(
    classifier: Classifier,
    data: Dataset | str | os.PathLike[str],
    split: str = "test",
    *,
    out: str | os.PathLike[str],
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
    by: Sequence[str] = (),
    batch_size: int = 64,
    resamples: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Evaluate a classifier on one split.

    Args:
        classifier: A trained model, from `medmamba.load`.
        data: What to evaluate on, opened with the classifier's classes; or what `open_data` takes.
        split: Name of the split; `all` takes every image.
        out: Folder for `metrics.json`, `curves.json` (the points of the ROC and precision-recall curves, as
            `medmamba.metrics.class_curves` gives them), `scores.csv` (a row an image), `confusion_matrix.png`,
            `roc.png` and `reliability.png`; made if needed. Files of these names in it are replaced, each whole.
        group_column: The patient column of a table, as in training.
        label_columns: The label columns of a table, as in training.
        allow: Faults of the data to go on in spite of, names of `medmamba.data.faults.FAULTS`; the report says so.
        by: Columns of the table by which the figures are given once more, for each of their values: site, sex, ...
        batch_size: Images that go through the model at once; changes speed and memory, not the figures.
        resamples: Bootstrap draws; 0 leaves out the intervals that need them.
        seed: Of the bootstrap.
        progress: Called with (images done, images in all) after each batch.

    Returns:
        What `metrics.json` holds: the keys of `medmamba.metrics.summary`; `subgroups` (by column, as
        `medmamba.evaluation.subgroups.divide` gives them); `calibration`, `prediction_sets` and `scope` (as in
        `medmamba.evaluation.trust`); `data` (`name`, `split`, `unit`, `notes`); `model`
        (`name`, `preprocessing`, `trained_on` with name and fingerprint, and the keys of `complexity`); `made`
        (`date`, `device`, `backend`, `batch_size`, `versions`).

    Raises:
        InputError: The data has other classes or another task than the model, has no such split or no image in it, the
            model may have been trained on it under another name, an image cannot be read, the plots cannot be drawn, or
            `out` lies in the folder of the data. Nothing is written then.
    """
    out = writable_folder(out)
    check_outside(out, data)
    found = measure(
        classifier,
        data,
        split,
        group_column=group_column,
        label_columns=label_columns,
        allow=allow,
        by=by,
        batch_size=batch_size,
        resamples=resamples,
        seed=seed,
        progress=progress,
    )
    write(found, out)
    return found.report


@dataclass(frozen=True)
class Evaluation:
    """What was found, and what it was found on.

    Attributes:
        bundle: Of the classifier.
        images: The split.
        scores: Probabilities, (n, classes).
        report: What `metrics.json` will hold.
        curves: What `curves.json` will hold.
    """

    bundle: Bundle
    images: ImageSet
    scores: np.ndarray
    report: dict[str, Any]
    curves: dict[str, Any]


def measure(
    classifier: Classifier,
    data: Dataset | str | os.PathLike[str],
    split: str,
    *,
    group_column: str | None,
    label_columns: Sequence[str],
    allow: Collection[str],
    by: Sequence[str],
    batch_size: int,
    resamples: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> Evaluation:
    """What `evaluate` finds, with nothing written; arguments and errors are its own."""
    require_matplotlib("train")
    if resamples < 0:
        raise InputError(f"{resamples} resamples is no number of draws; give 2000, or 0 for none")
    bundle = classifier.bundle
    opened = open_split(data, split, [bundle], group_column=group_column, label_columns=label_columns, allow=allow)
    images = opened.images
    divided = check_columns(images, by, opened.name)
    logger.info("scoring %d images of the split %s of %s", len(images), split, opened.name)
    if classifier.kind is None:
        scores, strange = classifier.scores(images, batch_size=batch_size, progress=progress), np.empty(0)
    else:
        scores, strange = classifier.gather(images, classifier.examined, batch_size, progress)
    summary = _measure(bundle, images, scores, resamples, seed)
    how = {"resamples": resamples, "seed": seed}
    calibration = trust.calibration(bundle, scores, images.targets, images.groups, **how)

    def of_rows(rows: np.ndarray) -> dict[str, Any]:
        return _measure(bundle, images.take(rows), scores[rows], resamples, seed)

    report = summary | {
        "subgroups": divide(divided, of_rows),
        "calibration": calibration,
        "prediction_sets": trust.sets(bundle, scores, images.targets),
        "scope": None if classifier.kind is None else trust.scope(bundle, strange),  # an exported file cannot tell
        "data": {
            "name": opened.name,
            "split": split,
            "unit": "image" if images.groups is None else images.unit,
            "notes": list(opened.notes),
        },
        "model": _about_model(classifier),
        "made": about_run(classifier, batch_size),
        "notes": [*in_spite(bundle, opened.allowed), *opened.cautions, *summary["notes"]],
    }
    points = class_curves(scores, images.targets, bundle.classes, groups=images.groups, **how)
    return Evaluation(bundle, images, scores, report, points)


def write(found: Evaluation, out: Path, pages: Mapping[str, str] | None = None) -> None:
    """Write the files of an evaluation into a folder, made if needed, and pages by their names with them."""
    report, scores, targets = found.report, found.scores, found.images.targets
    pictures = {
        "confusion_matrix.png": plots.confusion_matrix(report),
        "roc.png": plots.roc(report, scores, targets),
        "reliability.png": plots.reliability(report["calibration"]),
    }
    make_folder(out)
    write_atomically(out / "scores.csv", scores_table(found.bundle, found.images, scores).encode())
    write_atomically(out / "curves.json", json.dumps(found.curves, ensure_ascii=False, allow_nan=False).encode())
    for name, content in pictures.items():
        write_atomically(out / name, content)
    for name, text in (pages or {}).items():
        write_atomically(out / name, text.encode())
    write_json(out / "metrics.json", report)  # last: where it stands, the rest stands too


def scores_table(bundle: Bundle, images: ImageSet, scores: np.ndarray) -> str:
    """CSV text, a row an image: file, label, prediction, the probability of each class, and the group where known.

    Labels of a multi-label task are joined by `|`. Probabilities have all their digits, so that every figure can be
    computed again from the table alone. Text that a spreadsheet would compute has an apostrophe in front.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    head = ["file", "label", "prediction", *bundle.classes, *["group"] * (images.groups is not None)]
    writer.writerow(map(spreadsheet_cell, head))
    decisions = decide(bundle.task, scores, threshold=bundle.threshold, positive=bundle.positive)
    for row, name in enumerate(images.names):
        group = [] if images.groups is None else [images.groups[row]]
        label, prediction = (_named(bundle, target[row]) for target in (images.targets, decisions))
        cells = [name, label, prediction, *map(repr, scores[row].tolist()), *group]
        writer.writerow(map(spreadsheet_cell, cells))
    return text.getvalue()


def _named(bundle: Bundle, target: np.ndarray) -> str:
    if bundle.task is Task.MULTILABEL:
        return "|".join(bundle.classes[k] for k in np.flatnonzero(target))
    return bundle.classes[int(target)]


def _measure(bundle: Bundle, images: ImageSet, scores: np.ndarray, resamples: int, seed: int) -> dict[str, Any]:
    return summarise(
        bundle.task,
        scores,
        images.targets,
        bundle.classes,
        positive=bundle.positive,
        threshold=bundle.threshold,
        groups=images.groups,
        resamples=resamples,
        seed=seed,
    )


def _about_model(classifier: Classifier) -> dict[str, Any]:
    bundle = classifier.bundle
    trained_on = bundle.provenance.get("data") or {}
    return {
        "name": bundle.model,
        "preprocessing": bundle.preprocessing.to_dict(),
        "trained_on": {key: trained_on.get(key) for key in ("name", "fingerprint")},
        **(classifier.complexity or _complexity(bundle)),
    }


def _complexity(bundle: Bundle) -> dict[str, Any]:
    from medmamba.evaluation.cost import complexity  # with torch, which an exported file does without

    shape = bundle.preprocessing
    return complexity(bundle.build_model(), (shape.height, shape.width), shape.channels)
