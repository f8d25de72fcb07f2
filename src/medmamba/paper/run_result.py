"""A finished run with its figures, for all resamples at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medmamba.metrics.classification import as_table
from medmamba.metrics.figures import figures
from medmamba.tasks import Task, decide

FIGURES = {
    "accuracy": "accuracy",
    "auc": "auc",
    "precision": "macro precision",
    "sensitivity": "macro sensitivity",
    "specificity": "macro specificity",
    "f1": "macro f1",
}


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        path: Of its JSON file.
        entries: What that holds.
    """

    path: Path
    entries: dict[str, Any]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """`scores` (n, classes), `targets` (n,), and `groups` (n,) where they are known."""
        with np.load(self.path.with_suffix(".npz")) as stored:
            return {name: stored[name] for name in stored.files}

    @property
    def task(self) -> Task:
        return Task(self.entries["task"])

    def figures(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Those of `FIGURES` in their order, (resamples, figures), or (1, figures) without weights; NaN: undefined."""
        return self.figures_of(self.arrays["scores"].astype(np.float64), weights)

    def figures_of(self, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """The same of other scores (n, classes), float64, for this run's images and question."""
        targets, positive = self.arrays["targets"], self.entries["positive"]
        decided, truth = (
            as_table(each, scores.shape[1])
            for each in (decide(self.task, scores, threshold=0.5, positive=positive), targets)
        )
        weights = np.ones((1, len(targets))) if weights is None else weights
        found = figures(self.task, scores, decided, truth, positive=positive, weights=weights)
        return np.concatenate([found[name] for name in FIGURES.values()], axis=-1)
