"""The cells of a table: what the runs of one model with several seeds say together, and two models beside each other.

The intervals hold the spread of both, seeds and test images: each resample draws seeds, and images within their
class, the same for all seeds (whole groups, where images of one patient or near-duplicates are known). A handful of
seeds tells little of their spread, and a bootstrap of n seeds sees only (n - 1) / n of its variance: for three seeds
the intervals are somewhat too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medmamba.errors import InputError
from medmamba.metrics.intervals import resample_weights
from medmamba.paper.run_result import FIGURES, RunResult

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """One figure over several runs.

    Attributes:
        mean: Over the runs.
        sd: Between them (n - 1 in the denominator); None for a single run.
        low: Of the 95 % interval over seeds and images; None where too many resamples do not define the figure.
        high: The same.
        values: Of each run.
        p: Of "there is no difference", two-sided: twice the share of resamples on the rarer side of 0, at least
            2 / (resamples + 1); None for a figure that is no difference, and where there is no interval.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    values: tuple[float, ...]
    p: float | None = None


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
    seeds = tuple(run.entries["seed"] for run in runs)
    return Cell(len(runs), seeds, len(runs[0].arrays["targets"]), _estimates(values[0], drawn[0]))


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
    return _estimates(*_differences(a, b, resamples, seed), difference=True)


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


def paired_over_sets(
    a: Sequence[Sequence[RunResult]], b: Sequence[Sequence[RunResult]], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Differences of two models as plain means over several data sets, b minus a, by the names of `FIGURES`.

    Each resample draws, on each set by itself, the same seeds and the same images for both; `values` are those of the
    sets.

    Args:
        a: Runs of the first model on each set, as for `paired`.
        b: Of the second, the sets in the same order.
        resamples: Bootstrap draws.
        seed: Of the bootstrap on the first set, those on the others are numbered on from it.

    Raises:
        InputError: As for `paired`.
    """
    both = enumerate(zip(a, b, strict=True))
    found = [_differences(first, second, resamples, seed + place) for place, (first, second) in both]
    values = np.array([each.mean(axis=0) for each, _ in found])
    return _estimates(values, np.mean([drawn for _, drawn in found], axis=0), difference=True)


def as_one(
    runs: Sequence[RunResult], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """The networks of several runs as one model, whose probabilities are the mean of theirs, as of `medmamba ensemble`.

    The networks are taken as they are: the intervals hold the spread of test images alone.

    Args:
        runs: As for `summarise`.
        resamples: Bootstrap draws.
        seed: Of the bootstrap.

    Returns:
        Its figures by the names of `FIGURES`, and what they are above the mean of the single networks' figures.

    Raises:
        InputError: As for `summarise`.
    """
    runs = _in_order(runs)
    _check_images(runs)
    scores = np.mean([run.arrays["scores"].astype(np.float64) for run in runs], axis=0)

    def each(weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        one = runs[0].figures_of(scores, weights)
        return one, one - np.mean([run.figures(weights) for run in runs], axis=0)

    drawn = [each(weights) for weights in _draws(runs[0], resamples, seed)]
    one, gain = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    values = each(None)
    return _estimates(values[0], one), _estimates(values[1], gain, difference=True)


def _in_order(runs: Sequence[RunResult]) -> list[RunResult]:
    runs = sorted(runs, key=lambda run: run.entries["seed"])
    seeds = [run.entries["seed"] for run in runs]
    if not runs or len(set(seeds)) < len(seeds):
        raise InputError(f"a cell needs runs with different seeds, and these have {seeds or 'none'}")
    return runs


def _check_images(runs: Sequence[RunResult]) -> None:
    """Refuse runs that were tested on different images."""
    for run in runs:
        if not np.array_equal(run.arrays["targets"], runs[0].arrays["targets"]):
            raise InputError(f"{run.path} and {runs[0].path} were tested on different images; take them apart")


def _draws(run: RunResult, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each test image is drawn, portions of (some resamples, n)."""
    groups = run.arrays["groups"].astype(str).tolist() if "groups" in run.arrays else None
    return resample_weights(run.arrays["targets"], groups, resamples, seed)


def _differences(
    a: Sequence[RunResult], b: Sequence[RunResult], resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """b minus a of every pair, (runs, figures), and of every resample, (resamples, figures)."""
    a, b = _in_order(a), _in_order(b)
    seeds = [[run.entries["seed"] for run in runs] for runs in (a, b)]
    if seeds[0] != seeds[1]:
        raise InputError(f"the seeds {seeds[0]} and {seeds[1]} are no pairs; give runs of both models with each seed")
    values, drawn = _bootstrap([a, b], resamples, seed)
    return values[1] - values[0], drawn[1] - drawn[0]


def _bootstrap(models: list[list[RunResult]], resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Figures of every run, (models, runs, figures), and means over drawn seeds, (models, resamples, figures)."""
    _check_images([run for runs in models for run in runs])
    values = np.array([[run.figures()[0] for run in runs] for runs in models])
    generator, parts = np.random.default_rng((seed, 1)), []
    for weights in _draws(models[0][0], resamples, seed):
        count = len(models[0])
        chosen = generator.integers(0, count, (len(weights), count))
        shares = (chosen[:, :, None] == np.arange(count)).mean(axis=1)  # (resamples, runs)
        each = np.array([[run.figures(weights) for run in runs] for runs in models])
        parts.append(np.einsum("rk,mkrf->mrf", shares, each))
    return values, np.concatenate(parts, axis=1)


def _estimates(values: np.ndarray, drawn: np.ndarray, difference: bool = False) -> dict[str, Estimate]:
    return {name: _estimate(values[:, k], drawn[:, k], difference) for k, name in enumerate(FIGURES)}


def _estimate(values: np.ndarray, drawn: np.ndarray, difference: bool) -> Estimate:
    known = drawn[~np.isnan(drawn)]
    low = high = p = None
    if len(known) >= 0.95 * len(drawn):
        low, high = (float(bound) for bound in np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        rarer = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
        p = min(1.0, 2 * (rarer + 1) / (len(known) + 1)) if difference else None
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return Estimate(float(values.mean()), sd, low, high, tuple(float(value) for value in values), p)
