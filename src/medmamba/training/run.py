"""`fit`: from a data set to a bundle."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from medmamba.data.dataset import Dataset
from medmamba.data.faults import check_allowed
from medmamba.data.opening import check_outside, open_data
from medmamba.device import scan_backend
from medmamba.training.checkpoint import check_same, find_checkpoint, settle_checkpoint
from medmamba.training.config import OutOfMemoryError, TrainConfig
from medmamba.training.ending import conclude
from medmamba.training.failures import writing_explained
from medmamba.training.folder import RunLog, check_free, is_only_begun, remove_leftovers, run_log
from medmamba.training.history import is_over
from medmamba.training.keeper import Keeper
from medmamba.training.lesson import ClassLesson, Lesson
from medmamba.training.lightning_trainer import determinism_restored, make_trainer, quiet
from medmamba.training.limits import more_parts
from medmamba.training.plan import CLASSES, Plan, Request, absolute, make_plan
from medmamba.training.precision import describe_device
from medmamba.training.preparation import may_be_recorded, new_net, prepare
from medmamba.training.progress import ProgressBar
from medmamba.training.provenance import describe_machine, describe_run, describe_splits, log_run
from medmamba.training.start import seen_before, start_from
from medmamba.training.taking_up import complete, take_up, with_changes
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
    needed to go on. Ctrl-C and SIGTERM end the run early and leave such a bundle.

    Args:
        data: A `Dataset`, or what `medmamba.open_data` takes.
        out: Folder for the bundle; new or empty, unless resuming, and not in a folder of classes that is the data.
        config: All options of the run.
        resume: Go on from the last finished epoch of the run in `out`, which must have had the same options and data.
            One that was killed before its first step is begun again.
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
        TrainingError: The run had to stop: a loss that is not finite, no memory left, a disk that is full, a GPU or a
            process that reads images that is gone, or Ctrl-C before the first epoch was finished. The message says
            what is kept and how to go on.
    """
    check_allowed(allow)
    spec = None if isinstance(data, Dataset) else absolute(data)
    settings = (config or TrainConfig()).with_options(options)
    request = Request(spec, task, positive, group_column, settings, tuple(allow), tuple(label_columns))
    with quiet(), determinism_restored(), run_log() as log:
        plan = make_plan(request)
        if not resume:  # which is to go on wherever it lies
            check_outside(out, data)
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


def learn(lesson: Lesson, folder: Path, plan: Plan, resume: bool, command: str | None, log: RunLog) -> Path:
    """Train on a lesson, in a new folder or going on with the run in it; for the rest see `fit`."""
    while True:
        done = _attempt(lesson, folder, plan, resume, command, log)
        if isinstance(done, Path):
            return done
        plan, resume = plan.with_options(accumulate=done), True
        gc.collect()  # what the attempt held: parts of it refer to each other
        if plan.device.type == "cuda":
            torch.cuda.empty_cache()


def _attempt(lesson: Lesson, folder: Path, plan: Plan, resume: bool, command: str | None, log: RunLog) -> Path | int:
    """Train to the end, or to that of the memory: the folder, or the parts of a batch to go on with."""
    net, device = new_net(lesson.bundle, plan)
    lesson.open()
    plan = plan.settled(lesson.splits["train"], lesson.bundle.preprocessing)
    identity = plan.identity(lesson.about["fingerprint"], lesson.bundle.classes)
    found = find_checkpoint(folder) if resume and not is_only_begun(folder) else None
    if found is not None:
        check_same(folder, {CLASSES: identity[CLASSES], **found.state["identity"]}, identity)  # of before: without
        plan = plan.after(found.state["request"]["config"])
    else:
        lesson.settle(seen_before(plan.config.init))
    config, recipe = plan.config, plan.recipe
    done = len(found.state["history"]) if found else 0
    recorded = may_be_recorded(net, plan, device)
    left = recipe.epochs - done
    trainer = make_trainer(config, device, plan.precision, epochs=left, folder=folder, recorded=recorded)
    if trainer.is_global_zero and not resume:
        check_free(folder)
    backend, where = scan_backend(device), describe_device(device)
    lesson.tell()
    log_run(recipe, plan.settings_by_rule, backend=backend, device=where, precision=plan.precision)
    if found is not None:
        provenance = with_changes(found.state["provenance"], found.state["request"]["config"], config, done + 1)
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
        with writing_explained(folder, "the files of the run"):
            remove_leftovers(folder)
            if found is not None:
                settle_checkpoint(folder, found.file)
            else:
                lesson.write_splits(folder)
                provenance |= describe_splits(folder)
    lesson.forget()  # what was read of the images to be prepared need not stay
    if found is not None:
        take_up(keeper, found, made.module, trainer)
    if is_over(keeper.history, recipe.epochs, recipe.patience):
        if trainer.is_global_zero:
            complete(keeper, recipe)
        return folder
    pace = Pace(made.train, made.remedy)
    callbacks = [keeper, pace, ProgressBar(keeper.history)] if config.progress else [keeper, pace]
    trainer.callbacks += callbacks  # type: ignore[attr-defined]
    try:
        return conclude(trainer, made, keeper, config)
    except OutOfMemoryError as reason:
        more = more_parts(config, min(recipe.batch_size, made.module.order.n)) if config.halve else None
        if more is None:
            raise
        logger.warning("%s: going on by itself, with batches in %d parts", reason, more)
        return more
