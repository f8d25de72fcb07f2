"""One run of a plan in a process of its own: `python -m medmamba.paper.worker JOB`, a JSON object of `Job`'s fields.

Exit code 0: the results are written. 3: it was told to stop, and goes on from its last saved epoch when it is started
again. 2: the request was wrong. Anything else: it failed, and the end of its standard error says why.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.errors import FailedError, InputError
from medmamba.paper.plans import Run
from medmamba.paper.run_file import RESIZE, SCHEMA, figures_of_test, rounded, write_run
from medmamba.paper.sets import locate

if TYPE_CHECKING:
    from medmamba.bundle import Bundle
    from medmamba.data.dataset import Dataset, ImageSet
    from medmamba.training.history import Epoch

logger = logging.getLogger(__name__)

STOPPED = 3
SAVE_SECONDS = 20


@dataclass(frozen=True)
class Job:
    """What a worker is asked for.

    Attributes:
        run: Which run.
        data: Folder of data.
        out: Folder of the results.
        work: Folder for what is unfinished.
        device: As for `medmamba train`.
        workers: Processes that augment images, where those do not live on the GPU.
        commit: Of this code, where that is known.
        keep: Folder for the trained model, under the run's name; None throws it away.
    """

    run: Run
    data: str
    out: str
    work: str
    device: str
    workers: int = 0
    commit: str | None = None
    keep: str | None = None

    def to_json(self) -> str:
        """The argument of a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The inverse of `to_json`."""
        entries = json.loads(text)
        return cls(**{**entries, "run": Run(**entries["run"])})


def make(job: Job) -> Path | None:
    """Train, or go on with it, then score the test split once and write the run's two files.

    Returns:
        The JSON file; None if the training was stopped before its end.

    Raises:
        InputError: What was asked for is not possible.
        FailedError: The training broke off.
    """
    from medmamba.bundle import load_bundle
    from medmamba.data import open_data
    from medmamba.training import TrainConfig, fit
    from medmamba.training.checkpoint import RESUME
    from medmamba.training.history import is_over, read_history

    run, folder = job.run, Path(job.work) / job.run.name
    data = open_data(locate(Path(job.data), run.data), seed=run.seed)
    resume = (folder / RESUME).is_file()
    if not resume and folder.exists():
        shutil.rmtree(folder)  # killed before there was anything to go on from
    config = TrainConfig(
        model=run.model,
        recipe=run.recipe,
        image_size=(run.image_size, run.image_size),
        epochs=run.epochs,
        seed=run.seed,
        device=job.device,
        workers=job.workers,
        model_args=dict(run.model_args),
        save_seconds=SAVE_SECONDS,
        progress=False,
    )
    fit(data, out=folder, config=config, resume=resume, command=run.command(Path(job.data)))
    recipe = load_bundle(folder).provenance["recipe"]
    history = read_history(folder / "history.csv")
    if not is_over(history, recipe["epochs"], recipe["patience"]):
        return None
    path = _test(job, data, folder, history)
    if job.keep is not None:
        (folder / RESUME).unlink(missing_ok=True)
        shutil.copytree(folder, Path(job.keep) / run.name, dirs_exist_ok=True)
    shutil.rmtree(folder)
    return path


def _test(job: Job, data: Dataset, folder: Path, history: list[Epoch]) -> Path:
    """Score the test split with the epoch that was chosen, and write what was found."""
    from medmamba.predictor import load
    from medmamba.predictor.opening import open_split
    from medmamba.training.folder import LOG
    from medmamba.training.history import best_of

    classifier = load(folder, device=job.device)
    bundle = classifier.bundle
    images = open_split(data, "test", [bundle]).images
    scores = rounded(classifier.scores(images))
    device = {"device": bundle.provenance["device"], "scan_backend": bundle.provenance["backend"]}
    best = best_of(history)
    assert best is not None
    entries = _settings(job, data, images, bundle) | device
    entries |= {"epochs": len(history), "best_epoch": best.epoch, **_outcome(bundle, scores, images)}
    entries["warnings"] = [
        line.split(" WARNING ", 1)[1]
        for line in (folder / LOG).read_text(encoding="utf-8").splitlines()
        if " WARNING " in line
    ]
    return write_run(job.run.file(Path(job.out)), entries, scores, images)


def _settings(job: Job, data: Dataset, images: ImageSet, bundle: Bundle) -> dict[str, Any]:
    """What was run, on what."""
    from medmamba.data.related import sources_of

    run, origin = job.run, bundle.provenance
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


def main() -> int:
    """Do the job of the command line."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        return STOPPED if make(Job.from_json(sys.argv[1])) is None else 0
    except InputError as reason:
        logger.error("%s", reason)
        return 2
    except FailedError as reason:
        logger.error("%s", reason)
        return 1


if __name__ == "__main__":
    sys.exit(main())
