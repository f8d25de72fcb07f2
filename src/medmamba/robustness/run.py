"""A sweep: a trained model on one split, corrupted in every way at every severity, and what was found written down."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from medmamba.data import Dataset, check_outside
from medmamba.drawing import require_matplotlib
from medmamba.errors import InputError
from medmamba.json_file import write_json
from medmamba.predictor import Classifier
from medmamba.predictor.opening import open_split
from medmamba.predictor.record import about_run, in_spite
from medmamba.robustness.pixels import WORKING
from medmamba.robustness.plots import curves
from medmamba.robustness.report import cells_table, make_report
from medmamba.robustness.scoring import score_corrupted
from medmamba.robustness.table import PAPER, SEVERITIES, chosen
from medmamba.writing import make_folder, writable_folder, write_atomically

logger = logging.getLogger(__name__)


def sweep(
    classifier: Classifier,
    data: Dataset | str | os.PathLike[str],
    split: str = "test",
    *,
    out: str | os.PathLike[str],
    corruptions: Sequence[str] = (PAPER,),
    baseline: Classifier | None = None,
    limit: int | None = None,
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
    batch_size: int = 64,
    resamples: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure what corruptions of the images do to a classifier.

    Args:
        classifier: A trained model, from `medmamba.load`.
        data: What to score, opened with the classifier's classes; or what `open_data` takes.
        split: Name of the split; `all` takes every image.
        out: Folder for `robustness.json`, `robustness.csv` (a row a corruption and severity) and `robustness.png`; made
            if needed. Files of these names in it are replaced, each whole.
        corruptions: Names of `medmamba.robustness.CORRUPTIONS`, or `paper`, `medmnist-c` or `all` for several.
        baseline: A model of the same classes, against which BE and rBE are computed.
        limit: Score no more images than this, each class in proportion.
        group_column: The patient column of a table, as in training.
        label_columns: The label columns of a table, as in training.
        allow: Faults of the data to go on in spite of, names of `medmamba.data.faults.FAULTS`.
        batch_size: Images that go through the model at once; changes speed and memory, not the figures.
        resamples: Bootstrap draws; 0 leaves the intervals out.
        seed: Of the corruptions and of the bootstrap, 0 or more.
        progress: Called with (images that went through a model, those that will in all) now and again.

    Returns:
        What `robustness.json` holds, see `medmamba.robustness.report.make_report`; and `data`, `made` and `notes` as in
        `medmamba.evaluate`.

    Raises:
        InputError: An option is impossible, the data does not fit the models, an image cannot be read, or the plot
            cannot be drawn. Nothing is written then.
    """
    require_matplotlib("train")
    table, out = chosen(corruptions), writable_folder(out)
    check_outside(out, data)
    _check_options(limit, batch_size, resamples, seed)
    models = [classifier] if baseline is None else [classifier, baseline]
    bundles = [model.bundle for model in models]
    opened = open_split(data, split, bundles, group_column=group_column, label_columns=label_columns, allow=allow)
    rows = spread(opened.images.targets, limit)
    logger.info("scoring %d of %d images of the split %s of %s", len(rows), len(opened.images), split, opened.name)
    # one size for both models, so that they are asked about the same pictures
    side = max(WORKING, *(min(bundle.preprocessing.height, bundle.preprocessing.width) for bundle in bundles))
    move = _counted(progress, len(models) * len(rows) * (1 + len(table) * len(SEVERITIES)))
    answers = [
        score_corrupted(model, opened.images, rows, table, side=side, seed=seed, batch_size=batch_size, progress=move)
        for model in models
    ]
    report = make_report(bundles, opened.images.take(np.array(rows)), table, answers, resamples=resamples, seed=seed)
    about = {"name": opened.name, "split": split, "images": len(opened.images), "notes": list(opened.notes)}
    notes = [*in_spite(bundles[0], opened.allowed), *opened.cautions, *report["notes"]]
    report |= {"data": about, "made": about_run(classifier, batch_size) | {"seed": seed}, "notes": notes}
    picture = curves(report)
    make_folder(out)
    write_atomically(out / "robustness.csv", cells_table(report).encode())
    write_atomically(out / "robustness.png", picture)
    write_json(out / "robustness.json", report)  # last: where it stands, the rest stands too
    return report


def spread(targets: np.ndarray, limit: int | None) -> list[int]:
    """Places of at most `limit` images, in order: each class in proportion, its images evenly apart.

    Args:
        targets: Class indices (n,); or multi-label (n, classes), of which images evenly apart are taken.
        limit: 1 or more, or None for all.
    """
    n = len(targets)
    if limit is None or limit >= n:
        return list(range(n))
    order = np.argsort(targets, kind="stable") if targets.ndim == 1 else np.arange(n)
    return sorted(order[(np.arange(limit) * n + n // 2) // limit].tolist())


def _check_options(limit: int | None, batch_size: int, resamples: int, seed: int) -> None:
    if limit is not None and limit < 1:
        raise InputError(f"a limit of {limit} images leaves none; give 1 or more, or leave it out for all")
    if batch_size < 1:
        raise InputError(f"batch size {batch_size} is none; give 1 or more")
    if resamples < 0:
        raise InputError(f"{resamples} resamples is no number of draws; give 2000, or 0 for no intervals")
    if seed < 0:
        raise InputError(f"seed {seed} is negative; give 0 or more")


def _counted(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    """From numbers of images to the number so far, of `total`."""
    done = 0

    def move(number: int) -> None:
        nonlocal done
        done += number
        if progress is not None:
            progress(done, total)

    return move
