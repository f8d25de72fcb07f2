"""Score a split with a trained model, and write down all that was found."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medmamba import __version__
from medmamba.bundle import Bundle, write_atomically, write_json
from medmamba.data import Dataset, open_data
from medmamba.data.dataset import ImageSet
from medmamba.data.faults import check_allowed
from medmamba.data.related import check_unseen
from medmamba.errors import InputError
from medmamba.evaluation import plots
from medmamba.metrics import summarise
from medmamba.metrics.lopsided import lopsided
from medmamba.tasks import Task, decide
from medmamba.text import spreadsheet_cell

if TYPE_CHECKING:
    from medmamba.predictor import Classifier

logger = logging.getLogger(__name__)

ENGINES = ("torch", "timm", "onnxruntime", "numpy")  # whose versions may decide a figure


def evaluate(
    classifier: Classifier,
    data: Dataset | str | os.PathLike[str],
    split: str = "test",
    *,
    out: str | os.PathLike[str],
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
    batch_size: int = 64,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Evaluate a classifier on one split.

    Args:
        classifier: A trained model, from `medmamba.load`.
        data: What to evaluate on, opened with the classifier's classes; or what `open_data` takes.
        split: Name of the split; `all` takes every image.
        out: Folder for `metrics.json`, `scores.csv` (a row an image), `confusion_matrix.png` and `roc.png`; made if
            needed. Files of these names in it are replaced, each whole.
        group_column: The patient column of a table, as in training.
        label_columns: The label columns of a table, as in training.
        allow: Faults of the data to go on in spite of, names of `medmamba.data.faults.FAULTS`; the report says so.
        batch_size: Images that go through the model at once; changes speed and memory, not the figures.
        resamples: Bootstrap draws; 0 leaves the intervals out.
        seed: Of the bootstrap.
        progress: Called with (images done, images in all) after each batch.

    Returns:
        What `metrics.json` holds: the keys of `medmamba.metrics.summary`; `data` (`name`, `split`, `notes`); `model`
        (`name`, `preprocessing`, `trained_on` with name and fingerprint, and the keys of `complexity`); `made`
        (`date`, `device`, `backend`, `batch_size`, `versions`).

    Raises:
        InputError: The data has other classes or another task than the model, has no such split or no image in it, the
            model may have been trained on it under another name, an image cannot be read, or the plots cannot be drawn.
            Nothing is written then.
    """
    check_allowed(allow)
    plots.require_matplotlib()
    if resamples < 0:
        raise InputError(f"{resamples} resamples is no number of draws; give 1000, or 0 for no intervals")
    bundle, out = classifier.bundle, Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder to write to")
    if not isinstance(data, Dataset):
        # with the seed of the training, so that data that came without splits is cut as it was then
        seed_of_splits = int(bundle.provenance.get("seed") or 0)
        data = open_data(
            data,
            task=str(bundle.task),
            group_column=group_column,
            label_columns=label_columns,
            classes=bundle.classes,
            seed=seed_of_splits,
            allow=allow,
        )
    check_fit(bundle, data)
    check_split(bundle, data, split)
    allowed = check_unseen(data, bundle.provenance, allow)
    images = data.split(split)
    if len(images) == 0:
        raise InputError(f"the split {split!r} of {data.name} has no images; choose one of {', '.join(data.splits)}")
    for sentence in allowed:
        logger.warning("allowed: %s", sentence)
    logger.info("scoring %d images of the split %s of %s", len(images), split, data.name)
    scores = classifier.scores(images, batch_size=batch_size, progress=progress)
    summary = _measure(bundle, images, scores, resamples, seed)
    report = summary | {
        "data": {"name": data.name, "split": split, "notes": list(data.notes)},
        "model": _about_model(classifier),
        "made": _about_run(classifier, batch_size),
        "notes": [
            *_in_spite(bundle, [*data.allowed, *allowed]),
            *summary["notes"],
            *lopsided(bundle.task, summary["per_class"], summary["n"]),
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "scores.csv", scores_table(bundle, images, scores).encode())
    write_atomically(out / "confusion_matrix.png", plots.confusion_matrix(summary))
    write_atomically(out / "roc.png", plots.roc(summary, scores, images.targets))
    write_json(out / "metrics.json", report)  # last: where it stands, the rest stands too
    return report


def _in_spite(bundle: Bundle, now: Sequence[str]) -> list[str]:
    """The faults that were allowed when the model was trained, and now."""
    trained = (bundle.provenance.get("data") or {}).get("allowed") or ()
    before = [f"the model was trained in spite of {sentence}" for sentence in trained]
    return before + [f"evaluated in spite of {sentence}" for sentence in now]


def check_split(bundle: Bundle, data: Dataset, split: str) -> None:
    """Refuse a split that we have cut from images other than those the model was trained on.

    A cut is the same only for the same images and labels. For others, images may be in our test part that were trained
    on; which images are asked for must then be said.
    """
    trained_on = bundle.provenance.get("data") or {}
    if split in data.made_splits and data.fingerprint() != trained_on.get("fingerprint"):
        raise InputError(
            f"{data.name} came without a split {split!r}, and its images, labels or patients are not those that the "
            "model was trained on; give splits, or score every image with --split all if none was used in training"
        )


def check_fit(bundle: Bundle, data: Dataset) -> None:
    """Refuse data that asks something else than the model answers: InputError names the classes."""
    if extra := [name for name in data.classes if name not in bundle.classes]:
        raise InputError(
            f"{data.name} has classes that the model does not know: {', '.join(map(repr, extra))}; "
            f"it was trained on {', '.join(map(repr, bundle.classes))}"
        )
    if tuple(data.classes) != tuple(bundle.classes):
        raise InputError(
            f"{data.name} was opened with the classes {', '.join(map(repr, data.classes))}, the model has "
            f"{', '.join(map(repr, bundle.classes))} in this order; open it with classes=classifier.classes"
        )
    if (data.task is Task.MULTILABEL) != (bundle.task is Task.MULTILABEL):
        raise InputError(f"{data.name} is a {data.task} data set, the model answers a {bundle.task} task")


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


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # an exported file needs no torch, and a bundle no onnxruntime
        return None


def _complexity(bundle: Bundle) -> dict[str, Any]:
    from medmamba.evaluation.cost import complexity  # with torch, which an exported file does without

    shape = bundle.preprocessing
    return complexity(bundle.build_model(), (shape.height, shape.width), shape.channels)


def _about_run(classifier: Classifier, batch_size: int) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": classifier.device,
        "backend": classifier.backend,
        "batch_size": batch_size,
        "versions": {"medmamba": __version__, **{name: _version(name) for name in ENGINES}},
    }
