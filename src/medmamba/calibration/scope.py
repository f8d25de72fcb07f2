"""Fit where the pictures end that a model was trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medmamba.predictor.scope import Kind

SMALLEST_SPREAD = 1e-3  # of a statistic from 0 to 1: what never varies in training may vary by so much without alarm


def fit_kind(features: np.ndarray, targets: np.ndarray, looks: np.ndarray) -> Kind:
    """Describe the training images, with limits still to be chosen.

    Args:
        features: Of the network, (n, d).
        targets: Class indices (n,), or for multi-label (n, classes): one centre for all then.
        looks: From `looks_of`, (n, s).
    """
    classes = np.zeros(len(targets), dtype=int) if targets.ndim == 2 else np.unique(targets, return_inverse=True)[1]
    centres = np.stack([features[classes == k].mean(axis=0) for k in range(classes.max() + 1)])
    whitening = _whitening(features - centres[classes], 0.0)
    looks_whitening = _whitening(looks - looks.mean(axis=0), SMALLEST_SPREAD)
    around = looks.mean(axis=0, keepdims=True) @ looks_whitening
    arrays = (centres @ whitening, whitening, around, looks_whitening, np.full(2, np.inf))
    return Kind(*(array.astype(np.float32) for array in arrays))


def with_limits(kind: Kind, features: np.ndarray, looks: np.ndarray, refused: float) -> Kind:
    """Choose limits so that of these images, which were not fitted, at most a share is told to be of another kind.

    Both distances are cut at the same quantile, the strictest at which no more images lie beyond either.

    Args:
        kind: Of the training images.
        features: Of validation images, (n, d).
        looks: Of them, (n, s).
        refused: The share, 0 to 1.
    """
    distances = np.stack(kind.distances(features, looks))
    ranks = np.argsort(np.argsort(-distances, axis=1), axis=1)  # 0 for the farthest image
    first = np.sort(ranks.min(axis=0))  # as the cut comes down, images leave in the order of their lower rank
    cut = int(first[int(refused * len(first))]) if refused < 1 else len(first) - 1
    # between the farthest image that is kept and the nearest that is refused
    edges = -np.sort(-distances, axis=1)
    limits = edges[:, cut] if cut == 0 else (edges[:, cut] + edges[:, cut - 1]) / 2
    return replace(kind, limits=limits.astype(np.float32))


def _whitening(deviations: np.ndarray, floor: float) -> np.ndarray:
    """Matrix (d, d) that makes deviations (n, d) uncorrelated and of variance 1.

    The covariance is shrunk (Ledoit & Wolf 2004), since there may be more features than images; after every column was
    scaled to a spread of 1, since statistics are in different units. No column's spread is taken for less than `floor`.
    """
    from sklearn.covariance import ledoit_wolf

    spread = np.maximum(deviations.std(axis=0), max(floor, 1e-12))
    covariance = ledoit_wolf(deviations / spread, assume_centered=True)[0]
    values, vectors = np.linalg.eigh(covariance)
    whitening: np.ndarray = vectors / np.sqrt(np.maximum(values, 1e-6)) / spread[:, None]
    return whitening
