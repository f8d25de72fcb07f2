"""Going on with a run that was stopped: what is taken up, what is said of it, and what is put right in its folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from lightning import Trainer

from medmamba.training.checkpoint import Found
from medmamba.training.config import TrainConfig
from medmamba.training.ending import epochs_in_words, in_full
from medmamba.training.keeper import Keeper
from medmamba.training.module import Trainee
from medmamba.training.plan import CHANGEABLE
from medmamba.training.recipe import Recipe

logger = logging.getLogger(__name__)


def with_changes(
    provenance: Mapping[str, Any], before: Mapping[str, Any], now: TrainConfig, epoch: int
) -> dict[str, Any]:
    """Provenance of a run that goes on from an epoch with options that may be others, each of which is also logged."""
    changes = list(provenance.get("changed", ()))
    for name in CHANGEABLE:
        old, new = before.get(name, getattr(TrainConfig(), name)), getattr(now, name)
        if old != new:
            logger.warning("%s was %s and is %s from here on", name, old, new)
            changes.append(f"{name} was {old} and is {new} from epoch {epoch} on")
    return {**provenance, **({"changed": changes} if changes else {})}


def take_up(keeper: Keeper, found: Found, module: Trainee, trainer: Trainer) -> None:
    """Restore network and keeper, bring the folder to the same epoch, and say from where the run goes on.

    Raises:
        TrainingError: The folder cannot be written to.
    """
    keeper.restore(found.state, module)
    done, most = len(keeper.history), module.recipe.epochs
    if found.passed_over:
        logger.warning("%s: going on from %s, after epoch %d", "; ".join(found.passed_over), found.file, done)
    if not trainer.is_global_zero or keeper.is_complete():
        return
    beyond = keeper.mend()
    if beyond:
        again = f"{epochs_in_words(done + 1, done + beyond)} made again, which had been finished but not saved"
    else:
        again = f"steps that had been made of epoch {done + 1} are made again"
    logger.info("resuming after epoch %d of %d; %s", done, most, again)


def complete(keeper: Keeper, recipe: Recipe) -> None:
    """Write what a run was killed before, which had come to its end."""
    if keeper.is_complete():
        keeper.write_card()
        logger.info("%s is finished already: nothing is left to do", keeper.folder)
        return
    keeper.finish(in_full(keeper.history, recipe))
    logger.info("%s had come to its end when it was stopped: its last files are written now", keeper.folder)
