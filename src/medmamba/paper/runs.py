"""Make the runs of a plan that are not there yet."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from medmamba.errors import InputError
from medmamba.paper.launching import Launcher
from medmamba.paper.plans import Run
from medmamba.paper.run_file import read_run
from medmamba.paper.schedule import Schedule, Summary
from medmamba.paper.sets import find

logger = logging.getLogger(__name__)

WORK = "work"  # folder of unfinished trainings and logs, among the results


def is_finished(run: Run, out: Path) -> bool:
    """Whether a run with these very settings is among the results, with its scores."""
    from medmamba.training.recipe import load_recipe
    from medmamba.training.rules import settle

    try:
        entries = read_run(run.file(out))
    except InputError:
        return False
    recipe, images = load_recipe(run.recipe, epochs=run.epochs), entries.get("train_images", 1)
    # the recipe's rules for so many images; whether they are grey is not in the file
    settled = [settle(recipe, images=images, grey=answer)[0] for answer in (lambda: True, lambda: False)]
    if entries.get("recipe_settings") not in [json.loads(json.dumps(each.to_dict())) for each in settled]:
        return False
    wanted = {
        "data": run.data,
        "model": run.model,
        "model_args": dict(run.model_args),
        "image_size": [run.image_size, run.image_size],
        "seed": run.seed,
    }
    return all(entries.get(name) == value for name, value in wanted.items())


def run_missing(
    plan: Sequence[Run],
    data_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    devices: Sequence[str] = ("cuda:0",),
    per_device: int = 2,
    deadline_seconds: float | None = None,
    *,
    cut: bool = False,
    work: str | os.PathLike[str] | None = None,
    keep: str | os.PathLike[str] | None = None,
    commit: str | None = None,
    report: Callable[[str], None] = logger.info,
) -> Summary:
    """Make the runs of a plan that `out` lacks, in its order, each in a process of its own.

    A run that fails is reported and does not stop the others; unless its request was wrong it is tried once more at the
    end, alone on its card. Kernels are compiled by the first processes and kept in the user's cache for the rest.

    Args:
        plan: Which runs.
        data_folder: Where their data lies.
        out: Results go to `runs` in it.
        devices: As for `medmamba train`, each a single one.
        per_device: Runs at once on each; they share its memory, and the cores of this machine.
        deadline_seconds: From now. A run that would not end by then, judged by those that have ended, is not started;
            those at work shortly before are stopped so that they can go on later. None for no deadline.
        cut: Start runs that would not end by the deadline as well: worth it if `work` is kept until the next call.
        work: Folder for unfinished trainings and logs, some hundred MB a run at work; `work` in `out` by default.
        keep: Folder for the trained models, each under its run's name; a run without a model there is made again. None
            throws them away.
        commit: Of this code, to be recorded.
        report: Takes lines on the progress.

    Raises:
        InputError: Devices or numbers are not possible.
    """
    if not devices or per_device < 1:
        raise InputError(f"{len(devices)} devices with {per_device} runs each run nothing; give 1 or more of both")
    data, out, models = Path(data_folder), Path(out), None if keep is None else Path(keep)
    summary, queue = Summary(), []
    for run in plan:
        if is_finished(run, out) and (models is None or (models / run.name).is_dir()):
            summary.there.append(run.name)
        elif find(data, run.data) is None:
            summary.absent.append(run.name)
        else:
            queue.append(run)
    report(f"{len(queue)} runs to make, {len(summary.there)} are there, the data of {len(summary.absent)} is absent")
    launcher = Launcher(data, out, Path(work) if work else out / WORK, tuple(devices), per_device, commit, models)
    Schedule(launcher, queue, summary, deadline_seconds, cut, report).run()
    report(str(summary))
    return summary
