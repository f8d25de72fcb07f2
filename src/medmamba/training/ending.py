"""Training from the first step to whatever ends it, and a folder that is complete afterwards."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from lightning import Trainer

from medmamba.training.config import DivergedError, TrainConfig, TrainingError
from medmamba.training.failures import failures_explained
from medmamba.training.history import Epoch, best_of
from medmamba.training.keeper import Keeper
from medmamba.training.lightning_trainer import run_trainer, said_once
from medmamba.training.limits import limits_explained
from medmamba.training.module import Trainee
from medmamba.training.preparation import Prepared
from medmamba.training.progress import in_clock
from medmamba.training.recipe import Recipe

logger = logging.getLogger(__name__)


@said_once()
def conclude(trainer: Trainer, made: Prepared, keeper: Keeper, config: TrainConfig) -> Path:
    """Train, and leave the folder complete whatever ended the run.

    Raises:
        TrainingError: The run had to stop; the message says why, what is kept, and what to do.
    """
    failure, module = None, made.module
    try:
        with failures_explained(config), limits_explained(config, module.recipe.batch_size):
            ended = run_trainer(trainer, module, made.train, made.val)
    except TrainingError as reason:
        failure, ended = reason, str(reason)
    if ended == "finished":
        ended = in_full(keeper.history, module.recipe)
    kept, folder = keeper.kept, keeper.folder
    if kept is not None and trainer.is_global_zero:
        try:
            keeper.finish(ended)
        except TrainingError as reason:  # a disk that is full or read-only, which ended the run too, or only its end
            failure = failure or reason
    what_to_do = _other_settings(trainer) if isinstance(failure, DivergedError) else _way_on(trainer, module, keeper)
    if kept is None:
        when = f"{ended}; this was" if failure else ended
        holds = f"{when} before the first epoch was finished, and {folder} holds no weights"
        raise type(failure or TrainingError())(f"{holds}; {what_to_do}")
    holds = f"{folder} keeps the weights of epoch {kept.epoch}"
    if (best := best_of(keeper.history)) == kept:
        holds += f", the best of {len(keeper.history)}"
    elif best is not None:
        holds += f", until those of epoch {best.epoch} are written, the best of {len(keeper.history)}"
    if failure:
        raise type(failure)(f"{failure}; {holds}; {what_to_do}")
    if trainer.is_global_zero and ended.startswith("finished"):
        logger.info("%s after %s: %s", ended, in_clock(keeper.seconds), holds)
    elif trainer.is_global_zero:
        logger.warning("%s after %s: %s; %s", ended, in_clock(keeper.seconds), holds, what_to_do)
    return folder


def in_full(history: Sequence[Epoch], recipe: Recipe) -> str:
    """How a run ended that came to its end."""
    early = len(history) < recipe.epochs
    return f"finished early, {recipe.patience} epochs without a better one" if early else "finished"


def _other_settings(trainer: Trainer) -> str:
    """What to do where a loss was not finite, which a resume would meet again."""
    precision = " or in precision 32" * ("mixed" in str(trainer.precision))
    return f"start a new run with a lower learning rate{precision}"


def _way_on(trainer: Trainer, module: Trainee, keeper: Keeper) -> str:
    """How a run that was stopped is resumed, and what is done again then."""
    if not keeper.saved:
        return "the same command with --resume starts it from its first step"
    last, saved = len(keeper.history), keeper.saved
    words = f"the same command with --resume goes on after epoch {saved}"
    if last > saved:
        return f"{words}, and {epochs_in_words(saved + 1, last)} made again"
    steps = trainer.global_step - (last - module.first_epoch) * len(module.sizes)
    return f"{words}, and {steps} of {len(module.sizes)} steps of epoch {saved + 1} are made again" if steps else words


def epochs_in_words(first: int, last: int) -> str:
    """`epoch 3 is` or `epochs 3 to 5 are`."""
    return f"epoch {first} is" if first == last else f"epochs {first} to {last} are"
