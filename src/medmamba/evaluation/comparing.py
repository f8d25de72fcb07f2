"""Is one model better than another, on the same images? Differences with intervals and tests."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.bundle import DESCRIPTION, WEIGHTS, Bundle
from medmamba.data import Dataset
from medmamba.errors import InputError
from medmamba.json_file import holds_entries, write_json
from medmamba.metrics.comparison import compare_runs
from medmamba.predictor.opening import open_split
from medmamba.predictor.record import about_run, in_spite
from medmamba.writing import check_place, check_replaced, make_folder, writable_folder

if TYPE_CHECKING:
    from medmamba.predictor import Classifier

logger = logging.getLogger(__name__)


def compare(
    first: Sequence[Classifier],
    second: Sequence[Classifier],
    data: Dataset | str | os.PathLike[str],
    split: str = "test",
    *,
    out: str | os.PathLike[str] | None = None,
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
    batch_size: int = 64,
    resamples: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compare two models on one split, or the runs of one model with several seeds with those of another.

    Args:
        first: The model, or several of one kind with different seeds.
        second: What is compared with it; differences are second minus first.
        data: What to compare on, opened with the models' classes; or what `open_data` takes.
        split: Name of the split; `all` takes every image.
        out: A JSON file for the result; None writes nothing. A file that is there is replaced only if it is such a
            result, or empty.
        group_column: The patient column of a table, as in training.
        label_columns: The label columns of a table, as in training.
        allow: Faults of the data to go on in spite of, names of `medmamba.data.faults.FAULTS`.
        batch_size: Images that go through a model at once.
        resamples: Bootstrap draws; 0 leaves out the intervals that need them.
        seed: Of the bootstrap.
        progress: Called with (images done, images in all) after each batch, over all models.

    Returns:
        What `medmamba.metrics.compare_runs` gives; `data` (`name`, `split`, `notes`); `models` (`a` and `b`: a list of
        `name`, `seed`, `trained_on`); `made`.

    Raises:
        InputError: The models answer different questions or decide for different positive classes; those of one side
            are no runs of one model, or one of them is there twice; the data does not fit them, see `evaluate`; or
            something else than a comparison is where `out` is to be.
    """
    models = [*first, *second]
    if not first or not second:
        raise InputError("there is nothing to compare: give one model or more on each side")
    if resamples < 0:
        raise InputError(f"{resamples} resamples is no number of draws; give 2000, or 0 for none")
    bundles = [classifier.bundle for classifier in models]
    if len({bundle.positive for bundle in bundles}) > 1:
        raise InputError("the models have different positive classes; train or import them with the same one")
    for side, name in ((first, "first"), (second, "second")):
        _check_runs([classifier.bundle for classifier in side], name)
    place = None if out is None else Path(out)
    if place is not None:
        if writable_folder(place.parent).is_dir():  # which is made where it is missing
            check_place(place)
        check_replaced(place, "compare", is_comparison)
    opened = open_split(data, split, bundles, group_column=group_column, label_columns=label_columns, allow=allow)
    images = opened.images
    logger.info("comparing on %d images of the split %s of %s", len(images), split, opened.name)
    scores = []
    for number, classifier in enumerate(models):

        def move(done: int, total: int, before: int = number * len(images)) -> None:
            if progress is not None:
                progress(before + done, total * len(models))

        scores.append(classifier.scores(images, batch_size=batch_size, progress=move))
    sides = scores[: len(first)], scores[len(first) :]
    found = compare_runs(
        bundles[0].task,
        *sides,
        images.targets,
        bundles[0].classes,
        positive=bundles[0].positive,
        thresholds_a=[classifier.bundle.threshold for classifier in first],
        thresholds_b=[classifier.bundle.threshold for classifier in second],
        groups=images.groups,
        resamples=resamples,
        seed=seed,
    )
    report = found | {
        "data": {"name": opened.name, "split": split, "notes": list(opened.notes)},
        "models": {"a": [_about(each.bundle) for each in first], "b": [_about(each.bundle) for each in second]},
        "made": about_run(models[0], batch_size),
        "notes": [
            *dict.fromkeys(line for bundle in bundles for line in in_spite(bundle, opened.allowed)),
            *opened.cautions,
            *found["notes"],
        ],
    }
    if place is not None:
        make_folder(place.parent)
        write_json(place, report)
    return report


def is_comparison(path: Path) -> bool:
    """Whether a file is what `compare` writes."""
    return holds_entries(path, ("differences", "per_class", "data", "models", "made"))


def find_models(path: str | os.PathLike[str]) -> list[Path]:
    """The model of a path; or all of a folder that holds several, the runs of one model with several seeds.

    Raises:
        InputError: It is no model and no folder of some.
    """
    path = Path(path)
    if path.is_file() or (path / DESCRIPTION).is_file():
        return [path]
    found = sorted(file.parent for file in path.glob(f"*/{DESCRIPTION}"))
    if not found:
        raise InputError(
            f"{path} is no trained model and holds none; give the folder that train wrote, or one of several"
        )
    return found


def _check_runs(bundles: Sequence[Bundle], side: str) -> None:
    """Refuse what are no runs of one model, each there once: a mean of them, and its spread, would tell nothing."""
    ours = _kind(bundles[0])
    for bundle in bundles[1:]:
        theirs = _kind(bundle)
        if different := [name for name in ours if ours[name] != theirs[name]]:
            told = ", ".join(f"{name} {ours[name]} and {theirs[name]}" for name in different)
            raise InputError(
                f"the {side} side of the comparison holds different models ({told}); give the runs of one model with "
                "several seeds, in a folder of their own"
            )
    digests = Counter(bundle.files[WEIGHTS] for bundle in bundles if WEIGHTS in bundle.files)
    if twice := [digest for digest, count in digests.items() if count > 1]:
        raise InputError(
            f"the {side} side of the comparison holds {digests[twice[0]]} runs with the same weights, SHA-256 "
            f"{twice[0][:12]}..., which are copies of one; give each run once"
        )


def _kind(bundle: Bundle) -> dict[str, Any]:
    """What the runs of one model have in common, whatever their seeds."""
    shape = bundle.preprocessing
    members = [(member.model, member.model_args) for member in bundle.members]
    return {
        "model": bundle.model,
        "model arguments": bundle.model_args or members,
        "image size": f"{shape.height} x {shape.width}",
        "recipe": (bundle.provenance.get("recipe") or {}).get("name"),
    }


def _about(bundle: Bundle) -> dict[str, Any]:
    trained_on = bundle.provenance.get("data") or {}
    return {"name": bundle.model, "seed": bundle.provenance.get("seed"), "trained_on": trained_on.get("name")}
