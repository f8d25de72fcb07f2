"""The figures of a model by name, for all resamples at once."""

from __future__ import annotations

import numpy as np

from medmamba.metrics import counts as counting
from medmamba.metrics.ranking import mean_auc, rank_aucs
from medmamba.tasks import Task

RATES = {
    "precision": counting.precision,
    "npv": counting.npv,
    "sensitivity": counting.sensitivity,
    "specificity": counting.specificity,
    "f1": counting.f1,
}
OVERALL = {"accuracy": counting.accuracy, "balanced_accuracy": counting.balanced_accuracy, "mcc": counting.mcc}


def figures(
    task: Task,
    scores: np.ndarray,
    decided: np.ndarray,
    truth: np.ndarray,
    *,
    positive: int,
    weights: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Every figure by name, (..., 1); under the names `each ...` those of every class, (..., classes). NaN: undefined.

    Args:
        task: Decides which AUC stands for the model, and whether there is a kappa.
        scores: Probabilities, (n, classes).
        decided: Decisions as 0 and 1, (n, classes).
        truth: Targets as 0 and 1, (n, classes).
        positive: Index of the positive class of a binary task.
        weights: How often each image counts, (n,) or (resamples, n).
    """
    counts = counting.count(decided, truth, exclusive=task is not Task.MULTILABEL, weights=weights)
    aucs = rank_aucs(scores, truth, weights)
    rates = {name: rate(counts) for name, rate in RATES.items()}
    overall = {name: figure(counts) for name, figure in OVERALL.items()}
    if task is Task.ORDINAL:
        overall["quadratic_kappa"] = counting.quadratic_kappa(decided, truth, weights)
    overall["auc"] = aucs[..., positive] if task is Task.BINARY else mean_auc(aucs)
    overall |= {f"macro {name}": counting.macro(values, counts) for name, values in rates.items()}
    overall |= {f"weighted {name}": counting.weighted(values, counts) for name, values in rates.items()}
    per_class = {f"each {name}": values for name, values in (rates | {"auc": aucs}).items()}
    return {name: np.asarray(values)[..., None] for name, values in overall.items()} | per_class
