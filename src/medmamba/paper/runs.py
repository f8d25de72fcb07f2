"""Make the runs of a plan that are not there yet."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medmamba.errors import InputError
from medmamba.paper.backbone_runs import BackboneRun, has_weights, read_backbone
from medmamba.paper.job import Unit
from medmamba.paper.launching import Launcher
from medmamba.paper.run_file import read_run
from medmamba.paper.schedule import Schedule, Summary
from medmamba.paper.sets import find
from medmamba.paper.variants import variant

logger = logging.getLogger(__name__)

WORK = "work"  # folder of unfinished trainings and logs, among the results


def is_finished(run: Unit, out: Path) -> bool:
    """Whether a run with these very settings is among the results, with its scores; or such a backbone's file."""
    from medmamba.training.rules import settle, suit

    try:
        if isinstance(run, BackboneRun):
            entries = read_backbone(run.file(out))
            images = sum(each["images"]["train"] for each in entries["data"])
        else:
            entries = read_run(run.file(out))
            images = entries.get("train_images", 1)
    except InputError:
        return False
    recipe, _ = suit(variant(run.recipe, run.changes), run.model, getattr(run, "model_args", {}))
    # the recipe's rules for so many images; whether they are grey is not in the file
    settled = [settle(recipe, images=images, grey=answer)[0] for answer in (lambda: True, lambda: False)]
    if entries.get("recipe_settings") not in [json.loads(json.dumps(each.to_dict())) for each in settled]:
        return False
    found = {**entries, "settings": entries.get("settings", {}), "init": (entries.get("init") or {"name": ""})["name"]}
    return all(found.get(name) == value for name, value in _wanted(run).items())


def _wanted(run: Unit) -> dict[str, Any]:
    """What its file must say."""
    wanted = {"model": run.model, "image_size": [run.image_size, run.image_size], "seed": run.seed}
    if isinstance(run, BackboneRun):
        return wanted | {"name": run.init, "sets": list(run.sets)}
    own = {"data": run.data, "model_args": dict(run.model_args), "settings": dict(run.settings), "init": run.init}
    return wanted | own


def run_missing(
    plan: Sequence[Unit],
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
        plan: Which runs, and the backbones that they start from; a run waits for its own, and fails with it.
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
    launcher = Launcher(data, out, Path(work) if work else out / WORK, tuple(devices), per_device, commit, models)
    summary, queue = sort_out(plan, launcher)
    report(f"{len(queue)} runs to make, {len(summary.there)} are there, the data of {len(summary.absent)} is absent")
    Schedule(launcher, queue, summary, deadline_seconds, cut, report).run()
    report(str(summary))
    return summary


def sort_out(plan: Sequence[Unit], launcher: Launcher) -> tuple[Summary, list[Unit]]:
    """What of a plan is there or has no data, and what is to be made, in the order of the plan.

    Of a finished backbone the weights must be there only for runs that are to be made.
    """
    missing = [run for run in plan if not _is_there(run, launcher)]
    needed = {run.needs for run in missing}
    missing = [run for run in plan if run in missing or (run.name in needed and not _has_weights(run, launcher))]
    absent = {run.name for run in plan if any(find(launcher.data, name) is None for name in run.sets)}
    absent &= {run.name for run in missing}
    absent |= {run.name for run in missing if run.needs in absent}
    made = {run.name for run in missing}
    there = [run.name for run in plan if run.name not in made]
    lost = [run.name for run in missing if run.name in absent]
    return Summary(there=there, absent=lost), [run for run in missing if run.name not in absent]


def _is_there(run: Unit, launcher: Launcher) -> bool:
    kept = launcher.keep is None or (launcher.keep / run.name).is_dir()
    return kept and is_finished(run, launcher.out)


def _has_weights(run: Unit, launcher: Launcher) -> bool:
    return has_weights((launcher.keep or launcher.work) / run.name)
