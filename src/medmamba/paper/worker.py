"""One unit of a plan in a process of its own: `python -m medmamba.paper.worker JOB`, a JSON object of `Job`'s fields.

Exit code 0: the results are written. 3: it was told to stop, and goes on from its last saved epoch when it is started
again. 2: the request was wrong. Anything else: it failed, and the end of its standard error says why.
"""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.errors import FailedError, InputError
from medmamba.json_file import write_json
from medmamba.paper.backbone_runs import BackboneRun, has_weights, told
from medmamba.paper.job import Job, Unit
from medmamba.paper.plans import Run
from medmamba.paper.scoring import score_test
from medmamba.paper.sets import locate
from medmamba.paper.variants import by_file, by_option, variant, write_recipe

if TYPE_CHECKING:
    from medmamba.training import TrainConfig

logger = logging.getLogger(__name__)

STOPPED = 3
SAVE_SECONDS = 20


def make(job: Job) -> Path | None:
    """Train, or go on with it, then write what came of it: of a run, once its test split is scored, its two files.

    Returns:
        The JSON file; None if the training was stopped before its end.

    Raises:
        InputError: What was asked for is not possible.
        FailedError: The training broke off.
    """
    return make_backbone(job, job.run) if isinstance(job.run, BackboneRun) else make_run(job, job.run)


def make_run(job: Job, run: Run) -> Path | None:
    """A run; for the rest see `make`."""
    from medmamba.data import open_data
    from medmamba.training import fit

    folder, resume = _begin(job)
    data = open_data(locate(Path(job.data), run.data), seed=run.seed)
    options: dict[str, Any] = {"model_args": dict(run.model_args)}
    if run.needs:
        start = job.models / run.needs
        if not has_weights(start):
            raise InputError(f"there is no finished backbone {start}; have {run.needs} made first")
        options["init"] = str(start)
    config = _config(job, run).with_options(options)
    fit(data, out=folder, config=config, resume=resume, command=run.command(Path(job.data)))
    if not _is_over(folder):
        return None
    path = score_test(job, run, data, folder)
    _keep(job, folder)
    _remove_recipe(job)
    shutil.rmtree(folder)
    return path


def make_backbone(job: Job, run: BackboneRun) -> Path | None:
    """A backbone; for the rest see `make`."""
    from medmamba.backbone import load_backbone
    from medmamba.data import open_data
    from medmamba.training import pretrain
    from medmamba.training.checkpoint import remove_checkpoints

    folder, resume = _begin(job)
    sets = [open_data(locate(Path(job.data), name), seed=run.seed) for name in run.sets]
    pretrain(sets, out=folder, config=_config(job, run), resume=resume, command=run.command(Path(job.data)))
    if not _is_over(folder):
        return None
    path = run.file(Path(job.out))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, told(run, sets, load_backbone(folder), job.commit))
    remove_checkpoints(folder)  # from here on it is one to start from
    if job.keep is not None:
        _keep(job, folder)
        shutil.rmtree(folder)
    return path


def _begin(job: Job) -> tuple[Path, bool]:
    """The folder to train in, and whether there is something in it to go on from."""
    from medmamba.training.checkpoint import has_checkpoint

    folder = Path(job.work) / job.run.name
    resume = has_checkpoint(folder)
    if not resume and folder.exists():
        shutil.rmtree(folder)  # killed before there was anything to go on from, or made with other settings
    return folder, resume


def _config(job: Job, run: Unit) -> TrainConfig:
    """The options that runs and backbones share."""
    from medmamba.training import TrainConfig

    recipe = run.recipe
    if changed := by_file(run.changes):
        recipe = str(write_recipe(_recipes(job), variant(recipe, changed)))
    return TrainConfig(
        model=run.model,
        recipe=recipe,
        image_size=(run.image_size, run.image_size),
        seed=run.seed,
        device=job.device,
        workers=job.workers,
        save_seconds=SAVE_SECONDS,
        progress=False,
        **by_option(run.changes),
    )


def _recipes(job: Job) -> Path:
    """Folder of the recipe file of a run, if it has one; a resume needs it in the same place."""
    return Path(job.work) / "recipes" / job.run.name


def _remove_recipe(job: Job) -> None:
    if _recipes(job).exists():
        shutil.rmtree(_recipes(job))


def _is_over(folder: Path) -> bool:
    """Whether a training has come to its end."""
    from medmamba.backbone import load_start
    from medmamba.training.history import is_over, read_history

    recipe = load_start(folder).provenance["recipe"]
    return is_over(read_history(folder / "history.csv"), recipe["epochs"], recipe["patience"])


def _keep(job: Job, folder: Path) -> None:
    """Copy what was trained to where it is to stay, if that was asked for."""
    from medmamba.training.checkpoint import remove_checkpoints

    if job.keep is not None:
        remove_checkpoints(folder)
        shutil.copytree(folder, Path(job.keep) / job.run.name, dirs_exist_ok=True)


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
