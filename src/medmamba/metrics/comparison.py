"""Two models on the same images, figure by figure, as one dictionary that goes to JSON unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medmamba.metrics.calibration import brier, ece, nll
from medmamba.metrics.calibration_summary import DEFINITIONS
from medmamba.metrics.classification import as_table, number
from medmamba.metrics.estimates import LEVEL
from medmamba.metrics.figures import figures
from medmamba.metrics.intervals import repeat
from medmamba.metrics.pairs import Difference, delong_test, mcnemar, paired_bootstrap
from medmamba.metrics.summary import check
from medmamba.metrics.wording import AVERAGES, definitions
from medmamba.tasks import Task, decide

BETTER_IF_HIGHER = "above 0, b is better"
BETTER_IF_LOWER = "below 0, b is better"
Threshold = float | Sequence[float]
PROBABILITIES = {"nll": nll, "brier": brier, "ece": ece}  # no threshold changes them; the lower, the better


def compare_scores(
    task: Task,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    *,
    positive: int = 1,
    threshold_a: Threshold = 0.5,
    threshold_b: Threshold = 0.5,
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Differences of two models, b minus a, as `compare_runs` gives them for one run of each."""
    return compare_runs(
        task,
        [scores_a],
        [scores_b],
        targets,
        classes,
        positive=positive,
        thresholds_a=[threshold_a],
        thresholds_b=[threshold_b],
        groups=groups,
        resamples=resamples,
        seed=seed,
    )


def compare_runs(
    task: Task,
    runs_a: Sequence[np.ndarray],
    runs_b: Sequence[np.ndarray],
    targets: np.ndarray,
    classes: Sequence[str],
    *,
    positive: int = 1,
    thresholds_a: Sequence[Threshold],
    thresholds_b: Sequence[Threshold],
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Differences of two models, b minus a, with intervals; p-values where there is a test.

    With several runs of a model a figure is the mean over its runs, and runs are drawn with replacement as images are,
    so that an interval holds the spread of both. A handful of runs tells little of their spread: it is too narrow then.

    Args:
        task: What both were asked.
        runs_a: Probabilities of the runs of the first model, (n, classes) each.
        runs_b: Of the second, for the same images in the same order.
        targets: Class indices (n,); for multi-label 0 or 1, (n, classes).
        classes: Names, in the order of the columns of all.
        positive: Index of the positive class of a binary task.
        thresholds_a: As for `tasks.decide`, of each run of the first model.
        thresholds_b: Of the second.
        groups: Patient of each image, (n,). Where some patient has several images everything is bootstrapped by whole
            patients, and there are no p-values, since the tests suppose independent images.
        resamples: Bootstrap draws; 0 leaves out the intervals that need them.
        seed: Of the bootstrap.

    Returns:
        `task`, `n`, `patients`, `classes`, `runs` (how many of a and of b); `differences` by name (`auc`, `accuracy`,
        `balanced_accuracy`, `mcc`, `quadratic_kappa` for ordinal tasks, `macro_sensitivity`, `nll`, `brier`, `ece`) and
        `per_class` with `name`, `n` and `sensitivity`. Each difference has `a` and `b`, the figures of the models;
        `value`, `low`, `high`, `p` and `method`; and those by name a `definition`. Then `level`, `resamples`, `seed`,
        `notes`. None for what cannot be computed, never NaN.

    Raises:
        InputError: If shapes do not fit the task or each other, or a score is not finite.
    """
    for scores in (*runs_a, *runs_b):
        check(task, scores, targets, classes, groups)
    sides = [
        _Runs.of(task, runs, thresholds, targets, positive)
        for runs, thresholds in ((runs_a, thresholds_a), (runs_b, thresholds_b))
    ]
    generator = np.random.default_rng((seed, len(runs_a), len(runs_b)))

    def statistic(_a: np.ndarray, _b: np.ndarray, _targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        a, b = (side.figures(weights, _drawn(generator, len(weights), len(side.scores))) for side in sides)
        return np.concatenate([b[name] - a[name] for name in a], axis=-1)

    a, b = (side.figures() for side in sides)
    first, second = (side.scores[0] for side in sides)
    rest = iter(
        paired_bootstrap(statistic, first, second, targets, groups=groups, resamples=resamples, seed=seed, level=LEVEL)
    )
    found = {name: [next(rest) for _ in several[0]] for name, several in a.items()}
    if not repeat(groups) and len(runs_a) == len(runs_b) == 1:
        found |= _tests(task, (first, second), [side.decisions[0] for side in sides], targets, positive)
    rows = {
        name: [asdict(difference) | _values(a[name][0, k], b[name][0, k]) for k, difference in enumerate(several)]
        for name, several in found.items()
    }
    words = _definitions(task, classes[positive] if task is Task.BINARY else "", thresholds_a[0])
    counts = as_table(targets, len(classes)).sum(axis=0)
    return {
        "task": str(task),
        "n": len(targets),
        "patients": None if groups is None else len(set(groups)),
        "classes": list(classes),
        "runs": [len(runs_a), len(runs_b)],
        "differences": {
            name.replace(" ", "_"): {**rows[name][0], "definition": words[name]}
            for name in rows
            if not name.startswith("each ")
        },
        "per_class": [
            {"name": name, "n": int(counts[k]), "sensitivity": rows["each sensitivity"][k]}
            for k, name in enumerate(classes)
        ],
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
        "notes": _notes(len(targets), groups, max(len(runs_a), len(runs_b))),
    }


@dataclass(frozen=True, eq=False)
class _Runs:
    """The runs of one model, ready to be counted with any weights."""

    task: Task
    targets: np.ndarray
    positive: int
    scores: list[np.ndarray]
    decisions: list[np.ndarray]

    @classmethod
    def of(
        cls, task: Task, runs: Sequence[np.ndarray], thresholds: Sequence[Threshold], targets: np.ndarray, positive: int
    ) -> _Runs:
        scores = [each.astype(np.float64) for each in runs]
        decisions = [
            decide(task, each, threshold=threshold, positive=positive)
            for each, threshold in zip(scores, thresholds, strict=True)
        ]
        return cls(task, targets, positive, scores, decisions)

    def figures(self, weights: np.ndarray | None = None, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Means over runs by name, (resamples or 1, figures); `draws` (resamples, runs): how often each is drawn."""
        runs = [self._of_run(*each, weights) for each in zip(self.scores, self.decisions, strict=True)]
        shares = np.full((1, len(runs)), 1 / len(runs)) if draws is None else draws / len(runs)
        return {
            name: sum(share[:, None] * run[name] for share, run in zip(shares.T, runs, strict=True)) for name in runs[0]
        }

    def _of_run(self, scores: np.ndarray, decisions: np.ndarray, weights: np.ndarray | None) -> dict[str, np.ndarray]:
        decided, truth = (as_table(each, scores.shape[1]) for each in (decisions, self.targets))
        found = figures(self.task, scores, decided, truth, positive=self.positive, weights=weights)
        found = {name: found[name] for name in _names(self.task)}
        return found | {
            name: np.asarray(figure(self.task, scores, self.targets, weights))[..., None]
            for name, figure in PROBABILITIES.items()
        }


def _drawn(generator: np.random.Generator, rows: int, runs: int) -> np.ndarray:
    """How often each of several runs is drawn in each resample, (rows, runs)."""
    chosen = generator.integers(0, runs, (rows, runs))
    return (chosen[:, :, None] == np.arange(runs)).sum(axis=1)


def _values(a: np.ndarray, b: np.ndarray) -> dict[str, float | None]:
    """Both figures and their difference."""
    return {"a": number(a), "b": number(b), "value": number(b - a)}


def _names(task: Task) -> list[str]:
    kappa = ["quadratic_kappa"] if task is Task.ORDINAL else []
    return ["auc", "accuracy", "balanced_accuracy", "mcc", *kappa, "macro sensitivity", "each sensitivity"]


def _tests(
    task: Task, models: Sequence[np.ndarray], decisions: Sequence[np.ndarray], targets: np.ndarray, positive: int
) -> dict[str, list[Difference]]:
    """The differences that have a test of their own where images are independent."""
    tests: dict[str, list[Difference]] = {}
    if task is Task.BINARY:
        scores_a, scores_b = (scores[:, positive] for scores in models)
        tests["auc"] = [delong_test(scores_a, scores_b, targets == positive, LEVEL)]
    if task is not Task.MULTILABEL:
        tests["accuracy"] = [mcnemar(decisions[0] == targets, decisions[1] == targets, LEVEL)]
    return tests


def _definitions(task: Task, positive: str, threshold: Threshold) -> dict[str, str]:
    words = definitions(task, positive, threshold) | {"macro sensitivity": f"macro sensitivity: {AVERAGES['macro']}"}
    lower = {name: f"{DEFINITIONS[name]}; {BETTER_IF_LOWER}" for name in PROBABILITIES}
    return {name: f"{definition}; {BETTER_IF_HIGHER}" for name, definition in words.items()} | lower


def _notes(n: int, groups: Sequence[str] | None, runs: int) -> list[str]:
    if n == 0:
        return ["There are no images here, so nothing could be computed."]
    if repeat(groups):
        return [
            "Some patients have several images, so that DeLong's and McNemar's tests do not hold: there are no "
            "p-values, and all intervals are from whole patients resampled."
        ]
    if runs > 1:
        return [
            "Figures are means over the runs of a model; intervals are from images and runs resampled together, and "
            "there are no p-values, since the tests are for one run of each."
        ]
    return []
