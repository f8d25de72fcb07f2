"""Two models on the same images, figure by figure, as one dictionary that goes to JSON unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
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
PROBABILITIES = {"nll": nll, "brier": brier, "ece": ece}  # no threshold changes them; the lower, the better


def compare_scores(
    task: Task,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    *,
    positive: int = 1,
    threshold_a: float | Sequence[float] = 0.5,
    threshold_b: float | Sequence[float] = 0.5,
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Differences of two models, b minus a, with intervals; p-values where there is a test.

    Args:
        task: What both were asked.
        scores_a: Probabilities of the first model, (n, classes).
        scores_b: Of the second, for the same images in the same order.
        targets: Class indices (n,); for multi-label 0 or 1, (n, classes).
        classes: Names, in the order of the columns of both.
        positive: Index of the positive class of a binary task.
        threshold_a: As for `tasks.decide`, of the first model.
        threshold_b: Of the second.
        groups: Patient of each image, (n,). Where some patient has several images everything is bootstrapped by whole
            patients, and there are no p-values, since the tests suppose independent images.
        resamples: Bootstrap draws; 0 leaves out the intervals that need them.
        seed: Of the bootstrap.

    Returns:
        `task`, `n`, `patients`, `classes`; `differences` by name (`auc`, `accuracy`, `balanced_accuracy`, `mcc`,
        `quadratic_kappa` for ordinal tasks, `macro_sensitivity`, `nll`, `brier`, `ece`) and `per_class` with `name`,
        `n` and `sensitivity`. Each difference has `a` and `b`, the figures of the models; `value`, `low`, `high`, `p`
        and `method`; and those by name a `definition`. Then `level`, `resamples`, `seed`, `notes`. None for what cannot
        be computed, never NaN.

    Raises:
        InputError: If shapes do not fit the task or each other, or a score is not finite.
    """
    for scores in (scores_a, scores_b):
        check(task, scores, targets, classes, groups)
    models = (scores_a.astype(np.float64), scores_b.astype(np.float64))
    decisions = tuple(
        decide(task, scores, threshold=threshold, positive=positive)
        for scores, threshold in zip(models, (threshold_a, threshold_b), strict=True)
    )
    truth = as_table(targets, len(classes))
    decided = [as_table(each, len(classes)) for each in decisions]

    def of_model(which: int, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        scores = models[which]
        found = figures(task, scores, decided[which], truth, positive=positive, weights=weights)
        found = {name: found[name] for name in _names(task)}
        return found | {
            name: np.asarray(figure(task, scores, targets, weights))[..., None]
            for name, figure in PROBABILITIES.items()
        }

    def statistic(_a: np.ndarray, _b: np.ndarray, _targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        a, b = of_model(0, weights), of_model(1, weights)
        return np.concatenate([b[name] - a[name] for name in a], axis=-1)

    a, b = of_model(0), of_model(1)
    rest = iter(
        paired_bootstrap(statistic, *models, targets, groups=groups, resamples=resamples, seed=seed, level=LEVEL)
    )
    found = {name: [next(rest) for _ in several] for name, several in a.items()}
    if not repeat(groups):
        found |= _tests(task, models, decisions, targets, positive)
    rows = {
        name: [
            {"a": number(a[name][k]), "b": number(b[name][k]), **asdict(difference)}
            for k, difference in enumerate(several)
        ]
        for name, several in found.items()
    }
    words = _definitions(task, classes[positive] if task is Task.BINARY else "", threshold_a)
    return {
        "task": str(task),
        "n": len(targets),
        "patients": None if groups is None else len(set(groups)),
        "classes": list(classes),
        "differences": {
            name.replace(" ", "_"): {**rows[name][0], "definition": words[name]}
            for name in rows
            if not name.startswith("each ")
        },
        "per_class": [
            {"name": name, "n": int(truth[:, k].sum()), "sensitivity": rows["each sensitivity"][k]}
            for k, name in enumerate(classes)
        ],
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
        "notes": _notes(len(targets), groups),
    }


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


def _definitions(task: Task, positive: str, threshold: float | Sequence[float]) -> dict[str, str]:
    words = definitions(task, positive, threshold) | {"macro sensitivity": f"macro sensitivity: {AVERAGES['macro']}"}
    lower = {name: f"{DEFINITIONS[name]}; {BETTER_IF_LOWER}" for name in PROBABILITIES}
    return {name: f"{definition}; {BETTER_IF_HIGHER}" for name, definition in words.items()} | lower


def _notes(n: int, groups: Sequence[str] | None) -> list[str]:
    if n == 0:
        return ["There are no images here, so nothing could be computed."]
    if repeat(groups):
        return [
            "Some patients have several images, so that DeLong's and McNemar's tests do not hold: there are no "
            "p-values, and all intervals are from whole patients resampled."
        ]
    return []
