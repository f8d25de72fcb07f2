"""What the answers are worth: figures of every cell with paired intervals, and BE and rBE against a baseline.

Formulas of BE and rBE: MedMNIST-C (Di Salvo et al., arXiv 2406.17536), with the error 1 - balanced accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medmamba.bundle import Bundle
from medmamba.metrics import counts as counting
from medmamba.metrics.calibration import ece
from medmamba.metrics.classification import as_table, number
from medmamba.metrics.counts import ratio
from medmamba.metrics.ece_interval import ece_interval
from medmamba.metrics.intervals import Interval, bootstrap
from medmamba.metrics.ranking import mean_auc, rank_auc, rank_aucs
from medmamba.tasks import Task, decide

FIGURES = ("accuracy", "auc", "balanced_error", "flip_rate", "ece")
BALANCED_ERROR = FIGURES.index("balanced_error")
LEAST = 0.005  # of balanced error: below it a denominator is one image more or less, not a measure

Figure = dict[str, float | None]


class Cells:
    """A model's answers for clean images and for each corruption and severity, ready to be counted with any weights."""

    def __init__(self, bundle: Bundle, targets: np.ndarray, clean: np.ndarray, corrupted: np.ndarray) -> None:
        """Take probabilities, clean (n, classes) and corrupted (corruptions, 5, n, classes)."""
        self.bundle, self.targets = bundle, targets
        self.shape = corrupted.shape[:2]
        self.scores = [clean, *corrupted.reshape(-1, *clean.shape)]
        self.decided = [
            decide(bundle.task, scores, threshold=bundle.threshold, positive=bundle.positive) for scores in self.scores
        ]
        self.truth = as_table(targets, clean.shape[1])

    def errors(self, weights: np.ndarray) -> np.ndarray:
        """Balanced error of clean images and of each cell, (resamples, 1 + cells); weights (resamples, n)."""
        return np.stack([self._balanced_error(decided, weights) for decided in self.decided], axis=-1)

    def figures(self, weights: np.ndarray) -> np.ndarray:
        """Every one of `FIGURES` of clean images and of each cell, (resamples, 1 + cells, figures)."""
        cells = zip(self.scores, self.decided, strict=True)
        return np.stack([self._of_cell(scores, decided, weights) for scores, decided in cells], axis=1)

    def _counts(self, decided: np.ndarray, weights: np.ndarray) -> counting.Counts:
        table = as_table(decided, self.truth.shape[1])
        return counting.count(table, self.truth, exclusive=self.targets.ndim == 1, weights=weights)

    def _balanced_error(self, decided: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return 1 - counting.balanced_accuracy(self._counts(decided, weights))

    def _of_cell(self, scores: np.ndarray, decided: np.ndarray, weights: np.ndarray) -> np.ndarray:
        counts = self._counts(decided, weights)
        flipped = (decided != self.decided[0]).reshape(len(decided), -1).any(axis=1)
        values = (
            counting.accuracy(counts),
            self._auc(scores, weights),
            1 - counting.balanced_accuracy(counts),
            ratio(weights @ flipped.astype(np.float64), weights.sum(axis=-1)),
            ece(self.bundle.task, scores, self.targets, weights),
        )
        return np.stack(values, axis=-1)

    def _auc(self, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if self.bundle.task is Task.BINARY:
            return rank_auc(scores[:, self.bundle.positive], self.truth[:, self.bundle.positive], weights)
        return mean_auc(rank_aucs(scores, self.truth, weights))


def relative_errors(errors: np.ndarray, baseline: np.ndarray, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """BE and rBE of each corruption and their means over those that have one; NaN where the denominator is below 0.005.

    Args:
        errors: Balanced errors of a model, clean and of each cell, (..., 1 + corruptions * severities).
        baseline: The same of the baseline.
        shape: Number of corruptions and of severities.

    Returns:
        `be` and `rbe`, (..., corruptions), and `mean be` and `mean rbe`, (..., 1).
    """
    of_model, of_baseline = (
        table[..., 1:].reshape(*table.shape[:-1], *shape).mean(axis=-1) for table in (errors, baseline)
    )
    be = _guarded(of_model, of_baseline)
    rbe = _guarded(of_model - errors[..., :1], of_baseline - baseline[..., :1])
    return {"be": be, "rbe": rbe, "mean be": _mean(be), "mean rbe": _mean(rbe)}


def _guarded(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below >= LEAST, above / np.where(below >= LEAST, below, 1), np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1))[..., None]


def estimate(
    cells: Cells, baseline: Cells | None, *, groups: Sequence[str] | None, resamples: int, seed: int
) -> dict[str, Any]:
    """All figures as `{"value", "low", "high"}`, from one set of resamples for everything.

    Returns:
        `figures`: nested lists (1 + cells, figures), clean first; `mean error`: of each corruption over its severities;
        with a baseline `baseline errors` (1 + cells), `be` and `rbe` of each corruption, `mean be` and `mean rbe` (1).
    """

    def measured(weights: np.ndarray) -> dict[str, np.ndarray]:
        figures = cells.figures(weights)
        errors = figures[..., BALANCED_ERROR]
        found = {"figures": figures, "mean error": errors[:, 1:].reshape(len(weights), *cells.shape).mean(axis=-1)}
        if baseline is not None:
            other = baseline.errors(weights)
            found |= {"baseline errors": other} | relative_errors(errors, other, cells.shape)
        return found

    def statistic(_scores: np.ndarray, _targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.concatenate([table.reshape(len(weights), -1) for table in measured(weights).values()], axis=1)

    targets = cells.targets
    values = {name: table[0] for name, table in measured(np.ones((1, len(targets)))).items()}
    intervals: list[Interval | None] = [None] * sum(table.size for table in values.values())
    if resamples:
        intervals = bootstrap(statistic, cells.scores[0], targets, groups=groups, resamples=resamples, seed=seed)
        task = cells.bundle.task
        for k, scores in enumerate(cells.scores):  # the figures of the cells come first
            intervals[k * len(FIGURES) + FIGURES.index("ece")] = ece_interval(
                task, scores, targets, groups=groups, seed=seed
            )
    rest = iter(intervals)
    found: dict[str, Any] = {
        name: [_figure(value, next(rest)) for value in table.flat] for name, table in values.items()
    }
    width = len(FIGURES)
    found["figures"] = [found["figures"][start : start + width] for start in range(0, len(found["figures"]), width)]
    return found


def _figure(value: float, interval: Interval | None) -> Figure:
    known = number(value)
    low, high = interval if interval is not None and known is not None else (None, None)
    return {"value": known, "low": low, "high": high}
