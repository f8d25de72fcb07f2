"""How long a run takes, from those that are finished."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from medmamba.errors import InputError
from medmamba.paper.job import Unit
from medmamba.paper.plans import Run
from medmamba.paper.run_file import read_run
from medmamba.paper.sets import SOURCES
from medmamba.paper.variants import variant

logger = logging.getLogger(__name__)

STARTUP = 30.0  # seconds of a run that are no training
Key = tuple[str, str, int, int]  # model, recipe, side of the images, epochs


class Pace:
    """Seconds a training image of the whole training, for each model, recipe, size and number of epochs.

    Args:
        out: Folder of the results.
        work: Folder of unfinished trainings.
    """

    def __init__(self, out: Path, work: Path) -> None:
        self._work = work
        self._seen: dict[Key, list[float]] = {}
        for path in sorted((out / "runs").rglob("*.json")):
            try:
                self.learn(read_run(path))
            except InputError as reason:
                logger.info("no pace from %s", reason)  # a run that is to be made again

    def learn(self, entries: Mapping[str, Any]) -> None:
        """Take a finished run into account, by what its file holds; a classical model's search is none."""
        if "search" not in entries:
            epochs = entries["recipe_settings"]["epochs"]
            key = entries["model"], entries["recipe"], entries["image_size"][0], epochs
            self._seen.setdefault(key, []).append(entries["train_seconds"] / entries["train_images"])

    def seconds(self, run: Unit) -> float:
        """Expected, of what is left of a run; 0 where nothing like it was seen, and for a backbone."""
        from medmamba.training.history import read_history

        if not isinstance(run, Run):
            return 0.0
        images = SOURCES[run.data].train if run.data in SOURCES else None
        if images is None:
            return 0.0
        epochs = _epochs(run.recipe, tuple(run.changes.items()), images)
        paces = self._seen.get((run.model, run.recipe, run.image_size, epochs))
        if not paces:
            return 0.0
        done = len(read_history(self._work / run.name / "history.csv"))
        return STARTUP + (1 - done / epochs) * images * sum(paces) / len(paces)


@cache
def _epochs(recipe: str, changes: tuple[tuple[str, Any], ...], images: int) -> int:
    from medmamba.training.rules import settle

    return settle(variant(recipe, dict(changes)), images=images, grey=lambda: True)[0].epochs
