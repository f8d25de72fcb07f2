"""`fit`: from a data set to a bundle."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import Trainer

from medmamba.data.dataset import Dataset
from medmamba.data.faults import check_allowed
from medmamba.data.opening import open_data
from medmamba.device import scan_backend
from medmamba.errors import InputError
from medmamba.training.checkpoint import check_same, load_checkpoint
from medmamba.training.config import TrainConfig, TrainingError
from medmamba.training.folder import RunLog, check_free, run_log
from medmamba.training.history import best_of, is_over
from medmamba.training.keeper import Keeper
from medmamba.training.lesson import ClassLesson, Lesson
from medmamba.training.lightning_trainer import determinism_restored, make_trainer, quiet, run_trainer
from medmamba.training.limits import limits_explained
from medmamba.training.plan import CHANGEABLE, Plan, Request, absolute, make_plan
from medmamba.training.precision import describe_device
from medmamba.training.preparation import Prepared, may_be_recorded, new_net, prepare
from medmamba.training.progress import ProgressBar, in_clock
from medmamba.training.provenance import describe_machine, describe_run, describe_splits, log_run
from medmamba.training.start import seen_before, start_from
from medmamba.training.timing import Pace

logger = logging.getLogger(__name__)


def fit(
    data: Dataset | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    config: TrainConfig | None = None,
    resume: bool = False,
    task: str | None = None,
    positive: str | None = None,
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
    command: str | None = None,
    **options: Any,
) -> Path:
    """Train a model on the train split, choose its best epoch on the val split, and write its bundle.

    The test split is never read. After every epoch the folder holds the best weights so far as a bundle and all that is
    needed to go on. Ctrl-C ends the run early and leaves such a bundle.

    Args:
        data: A `Dataset`, or what `medmamba.open_data` takes.
        out: Folder for the bundle; new or empty, unless resuming.
        config: All options of the run.
        resume: Go on from the last finished epoch of the run in `out`, which must have had the same options and data.
        task: Of the data, where it cannot be told.
        positive: The positive class of a binary task; None for the last one, or what is known of the data set.
        group_column: Column of a table that names the patient.
        label_columns: Columns of 0 and 1 in a table, one for each label of a multi-label task.
        allow: Faults of the data to go on in spite of, names of `medmamba.data.faults.FAULTS`; the bundle says so.
        command: The command line, to be recorded.
        options: Single options of `TrainConfig`, changed in `config`.

    Returns:
        The folder.

    Raises:
        InputError: Something that was asked for is not possible; nothing has been trained or written.
        TrainingError: The run had to stop: a loss that is not finite, no memory left, or Ctrl-C before the first epoch
            was finished.
    """
    check_allowed(allow)
    spec = None if isinstance(data, Dataset) else absolute(data)
    settings = (config or TrainConfig()).with_options(options)
    request = Request(spec, task, positive, group_column, settings, tuple(allow), tuple(label_columns))
    with quiet(), determinism_restored(), run_log() as log:
        plan = make_plan(request)
        if not isinstance(data, Dataset):
            data = open_data(
                data,
                task=task,
                positive=positive,
                group_column=group_column,
                label_columns=label_columns,
                seed=settings.seed,
                allow=allow,
            )
        return learn(ClassLesson(data, plan), Path(out), plan, resume, command, log)


def resume(folder: str | os.PathLike[str], *, data: Dataset | None = None, **options: Any) -> Path:
    """Go on with a run, with the data and options that it was started with.

    Args:
        folder: Of the run.
        data: The data, if it was given as a `Dataset` and not by name or path.
        options: `workers`, `progress`, `save_seconds`, `accumulate`, `checkpointing` and `compile` may be given anew;
            others only if they are what they were.

    Returns:
        The folder.

    Raises:
        InputError: The folder holds no run to resume, or options or data are not those of the run.
    """
    request = Request.from_dict(load_checkpoint(Path(folder))["request"])
    given = request.data if data is None else data
    if given is None:
        raise InputError(
            f"the run in {folder} was given an opened data set; give it again as data=, "
            "or several to pretrain with resume"
        )
    return fit(
        given,
        out=folder,
        config=request.config,
        resume=True,
        task=request.task,
        positive=request.positive,
        group_column=request.group_column,
        label_columns=request.label_columns,
        allow=request.allow,
        **options,
    )


def learn(lesson: Lesson, folder: Path, plan: Plan, resume: bool, command: str | None, log: RunLog) -> Path:
    """Train on a lesson, in a new folder or going on with the run in it; for the rest see `fit`."""
    config = plan.config
    net, device = new_net(lesson.bundle, plan)
    lesson.open()
    plan = plan.settled(lesson.splits["train"], lesson.bundle.preprocessing)
    recipe = plan.recipe
    identity = plan.identity(lesson.about["fingerprint"])
    state = load_checkpoint(folder) if resume else None
    if state is not None:
        check_same(folder, state["identity"], identity)
    else:
        lesson.settle(seen_before(config.init))
    done = len(state["history"]) if state else 0
    recorded = may_be_recorded(net, plan, device)
    left = recipe.epochs - done
    trainer = make_trainer(config, device, plan.precision, epochs=left, folder=folder, recorded=recorded)
    if trainer.is_global_zero and not resume:
        check_free(folder)
    backend, where = scan_backend(device), describe_device(device)
    lesson.tell()
    log_run(recipe, plan.settings_by_rule, backend=backend, device=where, precision=plan.precision)
    if state is not None:
        provenance = state["provenance"]
    else:
        bundle = lesson.bundle
        start = start_from(net, bundle.model, bundle.classes, config.init) if config.init else "random weights"
        machine = describe_machine(device, config.devices * config.nodes)
        chosen = {
            "start": start,
            "backend": backend,
            "device": where,
            "machine": machine,
            "precision": plan.precision,
        }
        provenance = describe_run(config, recipe, lesson.about, command, plan.settings_by_rule) | chosen
    made = prepare(net, lesson, plan, trainer, done, recorded=recorded)
    stored = {"identity": identity, "request": plan.request.to_dict(), "provenance": provenance}
    keeper = Keeper(
        folder, lesson.bundle, provenance, stored=stored, judge=lesson.judge(), save_seconds=config.save_seconds
    )
    if trainer.is_global_zero:  # nothing was written until here
        log.write_to(folder)
        if not resume:
            lesson.write_splits(folder)
            provenance |= describe_splits(folder)
    lesson.forget()  # what was read of the images to be prepared need not stay
    if state is not None:
        keeper.restore(state, made.module)
        logger.info("resuming after epoch %d", done)
        log_changes(state["request"]["config"], config)
    if is_over(keeper.history, recipe.epochs, recipe.patience):
        logger.info("%s is finished already: nothing is left to do", folder)
        return folder
    pace = Pace(made.train, made.remedy)
    callbacks = [keeper, pace, ProgressBar(keeper.history)] if config.progress else [keeper, pace]
    trainer.callbacks += callbacks  # type: ignore[attr-defined]
    return _conclude(trainer, made, keeper, config)


def log_changes(before: Mapping[str, Any], now: TrainConfig) -> None:
    """Say which options of a resumed run are others than those it was started with, where they may be."""
    for name in CHANGEABLE:
        old, new = before.get(name, getattr(TrainConfig(), name)), getattr(now, name)
        if old != new:
            logger.warning("%s was %s and is %s from here on", name, old, new)


def _conclude(trainer: Trainer, made: Prepared, keeper: Keeper, config: TrainConfig) -> Path:
    """Train, and leave the folder complete whatever ended the run."""
    failure, module = None, made.module
    try:
        with limits_explained(config, module.recipe.batch_size):
            ended = run_trainer(trainer, module, made.train, made.val)
    except TrainingError as reason:
        failure = ended = str(reason)
    if ended == "finished" and len(keeper.history) < module.recipe.epochs:
        ended = f"finished early, {module.recipe.patience} epochs without a better one"
    best, folder = best_of(keeper.history), keeper.folder
    if best is None:
        when = f"{failure}; this was" if failure else ended
        raise TrainingError(f"{when} before the first epoch was finished, and {folder} holds no weights")
    kept = f"{folder} keeps the weights of epoch {best.epoch}, the best of {len(keeper.history)}"
    if trainer.is_global_zero:
        keeper.finish(ended)
    if failure:
        raise TrainingError(f"{failure}; {kept}")
    if trainer.is_global_zero:
        level = logging.INFO if ended.startswith("finished") else logging.WARNING
        logger.log(level, "%s after %s: %s", ended, in_clock(keeper.seconds), kept)
    return folder
