"""`report`: a trained model and a data set in, one page out, and the files of an evaluation beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from medmamba.data import Dataset, check_outside
from medmamba.evaluation.scoring import measure, write
from medmamba.report.cases import hardest_cases
from medmamba.report.checklists import checklists
from medmamba.report.page import page
from medmamba.report.stress import other_images, read_robustness
from medmamba.writing import writable_folder

if TYPE_CHECKING:
    from medmamba.predictor import Classifier

PAGE = "report.html"
CHECKLISTS = "reporting-checklists.md"


def write_report(
    classifier: Classifier,
    data: Dataset | str | os.PathLike[str],
    split: str = "test",
    *,
    out: str | os.PathLike[str],
    robustness: str | os.PathLike[str] | None = None,
    command: str | None = None,
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
    by: Sequence[str] = (),
    batch_size: int = 64,
    resamples: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Evaluate a classifier on one split and write a page about it.

    Args:
        classifier: A trained model, from `medmamba.load`.
        data: What to evaluate on, opened with the classifier's classes; or what `open_data` takes.
        split: Name of the split; `all` takes every image.
        out: Folder for `report.html`, `reporting-checklists.md` and the files of `medmamba.evaluate`; made if needed.
            Files of these names in it are replaced, each whole.
        robustness: Folder that `robustness` wrote for this model and split, to be shown too; None for none.
        command: The command line, to be recorded in the page.
        group_column: The patient column of a table, as in training.
        label_columns: The label columns of a table, as in training.
        allow: Faults of the data to go on in spite of, names of `medmamba.data.faults.FAULTS`; the page says so.
        by: Columns of the table by which the figures are given once more, for each of their values: site, sex, ...
        batch_size: Images that go through the model at once; changes speed and memory, not the figures.
        resamples: Bootstrap draws; 0 leaves out the intervals that need them, and the bands.
        seed: Of the bootstrap.
        progress: Called with (images done, images in all) after each batch.

    Returns:
        What `metrics.json` holds, as `medmamba.evaluate` gives it. Every figure of the page is from there, those of
        the curves from `curves.json`.

    Raises:
        InputError: As for `medmamba.evaluate`, or the file of the robustness is damaged. Nothing is written then.
    """
    out = writable_folder(out)
    check_outside(out, data)
    stress = None if robustness is None else read_robustness(robustness)
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
    cases = hardest_cases(classifier, found.images, found.scores)
    fits = stress is not None and other_images(stress, found.report) is None
    files = {
        PAGE: page(found, cases, stress, command),
        CHECKLISTS: checklists(classifier.bundle, found.report, stress if fits else None, maps=cases.method),
    }
    write(found, out, files)
    return found.report
