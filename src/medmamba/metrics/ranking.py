"""The area under the ROC curve, by ranks, and the curve itself."""

from __future__ import annotations

import numpy as np

from medmamba.metrics.counts import ratio


def rank_auc(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Chance that a positive scores above a negative, ties counting half (Mann-Whitney U / (positives * negatives)).

    Args:
        scores: (n,), any scale, finite.
        truth: (n,), 1 for positives, 0 for negatives.
        weights: How often each row counts, (n,) or (resamples, n). The sorting is done once for all resamples.

    Returns:
        (...) in [0, 1]; NaN where there are no positives or no negatives.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    positives = np.flatnonzero(truth)
    negatives = np.flatnonzero(np.asarray(truth) == 0)
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    # below[..., i]: weight of the i lowest negatives
    below = np.zeros((*weights.shape[:-1], len(negatives) + 1))
    np.cumsum(weights[..., negatives], axis=-1, out=below[..., 1:])
    lower = np.searchsorted(scores[negatives], scores[positives], side="left")
    upper = np.searchsorted(scores[negatives], scores[positives], side="right")
    wins = below[..., lower] + below[..., upper]  # twice the weight below, ties half
    positive_weights = weights[..., positives]
    return ratio((wins * positive_weights).sum(axis=-1), 2 * positive_weights.sum(axis=-1) * below[..., -1])


def rank_aucs(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """`rank_auc` of each class against the rest: scores and truth (n, classes) -> (..., classes)."""
    return np.stack([rank_auc(scores[:, k], truth[:, k], weights) for k in range(scores.shape[1])], axis=-1)


def mean_auc(aucs: np.ndarray) -> np.ndarray:
    """Plain mean of per-class areas (..., classes) over those that exist; NaN where none does. (...)."""
    known = ~np.isnan(aucs)
    return ratio(np.where(known, aucs, 0.0).sum(axis=-1), known.sum(axis=-1))


def roc_curve(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """False and true positive rates from the strictest threshold to the laxest, both from 0 to 1.

    Args:
        scores: (n,).
        truth: (n,), 1 for positives, 0 for negatives.

    Returns:
        Two arrays (thresholds + 1,), one point a distinct score; None without positives or without negatives.
    """
    positive = truth.astype(bool)
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(positive[order])[last_of_tie]
    alarms = np.cumsum(~positive[order])[last_of_tie]
    return np.append(0.0, alarms / alarms[-1]), np.append(0.0, hits / hits[-1])
