"""The cells of a table: what the runs of one model with several seeds say together, and two models beside each other.

The intervals hold the spread of both, seeds and test images: each resample draws seeds, and images within their
class, the same for all seeds (whole groups, where images of one patient or near-duplicates are known). A handful of
seeds tells little of their spread, and a bootstrap of n seeds sees only (n - 1) / n of its variance: for three seeds
the intervals are somewhat too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medmamba.errors import InputError
from medmamba.metrics.classification import as_table
from medmamba.metrics.figures import figures
from medmamba.metrics.intervals import resample_weights
from medmamba.tasks import Task, decide

FIGURES = {
    "accuracy": "accuracy",
    "auc": "auc",
    "precision": "macro precision",
    "sensitivity": "macro sensitivity",
    "specificity": "macro specificity",
    "f1": "macro f1",
}
RESAMPLES = 2000
LEVEL = 0.95


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
        scores, targets = self.arrays["scores"].astype(np.float64), self.arrays["targets"]
        positive = self.entries["positive"]
        decided, truth = (
            as_table(each, scores.shape[1])
            for each in (decide(self.task, scores, threshold=0.5, positive=positive), targets)
        )
        weights = np.ones((1, len(targets))) if weights is None else weights
        found = figures(self.task, scores, decided, truth, positive=positive, weights=weights)
        return np.concatenate([found[name] for name in FIGURES.values()], axis=-1)


@dataclass(frozen=True)
class Estimate:
    """One figure over several runs.

    Attributes:
        mean: Over the runs.
        sd: Between them (n - 1 in the denominator); None for a single run.
        low: Of the 95 % interval over seeds and images; None where too many resamples do not define the figure.
        high: The same.
        values: Of each run.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class Cell:
    """What the runs of one model on one data set say together.

    Attributes:
        runs: Their number.
        seeds: Theirs, in order.
        n: Test images.
        figures: By the names of `FIGURES`.
    """

    runs: int
    seeds: tuple[int, ...]
    n: int
    figures: dict[str, Estimate]


def summarise(runs: Sequence[RunResult], *, resamples: int = RESAMPLES, seed: int = 0) -> Cell:
    """The runs of one model with several seeds as one cell.

    Args:
        runs: Of one model, recipe, size and data set, each with another seed; one or more.
        resamples: Bootstrap draws.
        seed: Of the bootstrap.

    Raises:
        InputError: There is no run, one seed twice, or they were tested on different images.
    """
    runs = _in_order(runs)
    values, drawn = _bootstrap([runs], resamples, seed)
    return _cell(runs, values[0], drawn[0])


def paired(
    a: Sequence[RunResult], b: Sequence[RunResult], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Differences of two models with the same seeds, b minus a, by the names of `FIGURES`.

    Each resample draws the same seeds and the same images for both.

    Args:
        a: Runs of the first model.
        b: Of the second.
        resamples: Bootstrap draws.
        seed: Of the bootstrap.

    Raises:
        InputError: There is no run, or seeds or test images are not the same.
    """
    a, b = _in_order(a), _in_order(b)
    seeds = [[run.entries["seed"] for run in runs] for runs in (a, b)]
    if seeds[0] != seeds[1]:
        raise InputError(f"the seeds {seeds[0]} and {seeds[1]} are no pairs; give runs of both models with each seed")
    values, drawn = _bootstrap([a, b], resamples, seed)
    return _cell(a, values[1] - values[0], drawn[1] - drawn[0]).figures


def mean_over_sets(
    sets: Sequence[Sequence[RunResult]], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """The figures of one model as plain means over several data sets, by the names of `FIGURES`.

    Seeds and images of each set are drawn by themselves; `values` are those of the sets.

    Args:
        sets: The model's runs on each, as for `summarise`.
        resamples: Bootstrap draws.
        seed: Of the bootstrap on the first set, those on the others are numbered on from it.

    Raises:
        InputError: As for `summarise`.
    """
    found = [_bootstrap([_in_order(runs)], resamples, seed + place) for place, runs in enumerate(sets)]
    values = np.array([each[0].mean(axis=0) for each, _ in found])
    drawn = np.mean([each[0] for _, each in found], axis=0)
    return _estimates(values, drawn)


def _in_order(runs: Sequence[RunResult]) -> list[RunResult]:
    runs = sorted(runs, key=lambda run: run.entries["seed"])
    seeds = [run.entries["seed"] for run in runs]
    if not runs or len(set(seeds)) < len(seeds):
        raise InputError(f"a cell needs runs with different seeds, and these have {seeds or 'none'}")
    return runs


def _bootstrap(models: list[list[RunResult]], resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Figures of every run, (models, runs, figures), and means over drawn seeds, (models, resamples, figures)."""
    first = models[0][0].arrays
    for run in (run for runs in models for run in runs):
        if not np.array_equal(run.arrays["targets"], first["targets"]):
            raise InputError(f"{run.path} and {models[0][0].path} were tested on different images; take them apart")
    values = np.array([[run.figures()[0] for run in runs] for runs in models])
    generator, parts = np.random.default_rng((seed, 1)), []
    groups = first["groups"].astype(str).tolist() if "groups" in first else None
    for weights in resample_weights(first["targets"], groups, resamples, seed):
        count = len(models[0])
        chosen = generator.integers(0, count, (len(weights), count))
        shares = (chosen[:, :, None] == np.arange(count)).mean(axis=1)  # (resamples, runs)
        each = np.array([[run.figures(weights) for run in runs] for runs in models])
        parts.append(np.einsum("rk,mkrf->mrf", shares, each))
    return values, np.concatenate(parts, axis=1)


def _cell(runs: list[RunResult], values: np.ndarray, drawn: np.ndarray) -> Cell:
    seeds = tuple(run.entries["seed"] for run in runs)
    return Cell(len(runs), seeds, len(runs[0].arrays["targets"]), _estimates(values, drawn))


def _estimates(values: np.ndarray, drawn: np.ndarray) -> dict[str, Estimate]:
    return {name: _estimate(values[:, k], drawn[:, k]) for k, name in enumerate(FIGURES)}


def _estimate(values: np.ndarray, drawn: np.ndarray) -> Estimate:
    known = drawn[~np.isnan(drawn)]
    low = high = None
    if len(known) >= 0.95 * len(drawn):
        low, high = (float(bound) for bound in np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return Estimate(float(values.mean()), sd, low, high, tuple(float(value) for value in values))
