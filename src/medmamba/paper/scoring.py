"""The end of a run: its test split is scored once, and its two files are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.paper.backbone_runs import passed_on, read_backbone
from medmamba.paper.job import Job
from medmamba.paper.plans import Run
from medmamba.paper.run_file import RESIZE, SCHEMA, figures_of_test, rounded, write_run

if TYPE_CHECKING:
    from medmamba.bundle import Bundle
    from medmamba.data.dataset import Dataset, ImageSet


def score_test(job: Job, run: Run, data: Dataset, folder: Path) -> Path:
    """Score the test split with the epoch that was chosen, and write what was found.

    Args:
        job: What was asked for.
        run: The run that it asks for.
        data: Of the run.
        folder: What was trained.

    Returns:
        The run's JSON file.
    """
    from medmamba.predictor import load
    from medmamba.predictor.opening import open_split
    from medmamba.training.folder import LOG
    from medmamba.training.history import best_of, read_history

    classifier = load(folder, device=job.device)
    bundle = classifier.bundle
    images = open_split(data, "test", [bundle]).images
    scores = rounded(classifier.scores(images))
    device = {"device": bundle.provenance["device"], "scan_backend": bundle.provenance["backend"]}
    history = read_history(folder / "history.csv")
    best = best_of(history)
    assert best is not None
    entries = _settings(job, run, data, images, bundle) | _variant(job, run) | device
    entries |= {"epochs": len(history), "best_epoch": best.epoch, **_outcome(bundle, scores, images)}
    entries["warnings"] = [
        line.split(" WARNING ", 1)[1]
        for line in (folder / LOG).read_text(encoding="utf-8").splitlines()
        if " WARNING " in line
    ]
    return write_run(run.file(Path(job.out)), entries, scores, images)


def _settings(job: Job, run: Run, data: Dataset, images: ImageSet, bundle: Bundle) -> dict[str, Any]:
    """What was run, on what."""
    from medmamba.data.related import sources_of

    origin = bundle.provenance
    return {
        "schema": SCHEMA,
        "data": run.data,
        "file": data.name,
        "fingerprint": origin["data"]["fingerprint"],
        "derived_from": list(sources_of(data)),
        "notes": list(data.notes),
        "source_size": list(data.size or images.read(0).shape[:2]),
        "task": str(bundle.task),
        "classes": list(bundle.classes),
        "positive": bundle.positive,
        "image_size": [run.image_size, run.image_size],
        "resize": RESIZE,
        "model": run.model,
        "model_args": dict(run.model_args),
        "recipe": run.recipe,
        "recipe_settings": origin["recipe"],
        "seed": run.seed,
        "command": origin["command"],
        "commit": job.commit,
        "versions": origin["versions"],
    }


def _variant(job: Job, run: Run) -> dict[str, Any]:
    """What sets it apart from the plain run of its recipe, where anything does."""
    told: dict[str, Any] = {"settings": dict(run.settings)} if run.settings else {}
    if run.needs:
        told["init"] = passed_on(read_backbone(Path(job.out) / f"{run.needs}.json"))
    return told


def _outcome(bundle: Bundle, scores: Any, images: ImageSet) -> dict[str, Any]:
    """What came of it."""
    from medmamba.metrics import summarise

    origin = bundle.provenance
    report = summarise(
        bundle.task,
        scores,
        images.targets,
        bundle.classes,
        positive=bundle.positive,
        threshold=bundle.threshold,
        groups=images.groups,
    )
    validation = origin["validation"]
    right = sum(row["tp"] for row in validation["per_class"])
    return {
        "train_images": sum(origin["data"]["counts"]["train"].values()),
        "train_seconds": origin["seconds"],
        "validation": {"n": validation["n"], "auc": validation["auc"], "accuracy": right / validation["n"]},
        **figures_of_test(report),
    }
