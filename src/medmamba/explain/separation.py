"""How well features tell classes apart, in figures that need no picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medmamba.metrics.intervals import Interval, bootstrap, repeat, wilson

NEIGHBOURS = 5
RESAMPLES = 2000
DEFINITIONS = {
    "silhouette": "mean over images of (b - a) / max(a, b), where a is the mean Euclidean distance between features to "
    "the other images of the same class and b that to the images of the nearest other class (Rousseeuw 1987); -1 to 1, "
    "0 where classes lie in one another",
    "neighbours": f"share of images whose class is the commonest of the {NEIGHBOURS} nearest other images (Euclidean "
    "distance between features; of equally common classes, that of the nearest image); images of the same patient are "
    "no neighbours where patients are known",
}

_DISTANCES_AT_ONCE = 4_000_000  # 32 MB


def separation(
    values: np.ndarray, classes: np.ndarray, patients: Sequence[str] | None = None, *, seed: int = 0
) -> dict[str, Any]:
    """Silhouette and nearest-neighbour accuracy of features, as `embedding.json` holds them.

    Args:
        values: Features, (n, d).
        classes: Class of each image, (n,).
        patients: Of each image, or None where they are unknown.
        seed: Of the bootstrap.

    Returns:
        `silhouette`: `value`, None with fewer than two classes, or none of two images. `neighbours`: `k`, `n` (images
        that have a neighbour), `value`, and `low` and `high`, the 95 % interval; None each where it cannot be computed.
    """
    right = neighbours_agree(values, classes, patients)
    known = ~np.isnan(right)
    figure: dict[str, Any] = {"k": NEIGHBOURS, "n": int(known.sum()), "value": None, "low": None, "high": None}
    if known.any():
        groups = None if patients is None else [patient for patient, has in zip(patients, known, strict=True) if has]
        figure["value"] = float(right[known].mean())
        if interval := _interval(right[known], classes[known], groups, seed):
            figure |= {"low": interval[0], "high": interval[1]}
    return {"silhouette": {"value": silhouette(values, classes)}, "neighbours": figure}


def _interval(right: np.ndarray, classes: np.ndarray, patients: Sequence[str] | None, seed: int) -> Interval | None:
    """Of the share of images that are right: Wilson's, or where patients have several images the bootstrap of these."""
    if patients is None or not repeat(patients):
        return wilson(right.sum(), len(right))
    if right.min() == right.max():  # no resample differs, so each patient counts once
        units = len(set(patients))
        return wilson(right[0] * units, units)

    def share(_scores: np.ndarray, _targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return (weights @ right / weights.sum(axis=1))[:, None]

    return bootstrap(share, right, classes, groups=patients, resamples=RESAMPLES, seed=seed)[0]


def interval_method(patients: Sequence[str] | None, seed: int) -> dict[str, Any]:
    """How the interval of the nearest-neighbour accuracy is made, as `embedding.json` holds it."""
    if patients is None or not repeat(patients):
        return {"method": "Wilson's score interval", "level": 0.95, "unit": "image"}
    method = (
        f"expanded percentile bootstrap of {RESAMPLES} resamples, patients drawn with replacement within each class; "
        "Wilson's score interval for as many patients where all images agree"
    )
    return {"method": method, "level": 0.95, "resamples": RESAMPLES, "seed": seed, "unit": "patient"}


def silhouette(values: np.ndarray, classes: np.ndarray) -> float | None:
    """Mean silhouette of features (n, d) by class (n,), -1 to 1; None where it is undefined."""
    from sklearn.metrics import silhouette_score

    if not 2 <= len(np.unique(classes)) < len(classes):
        return None
    return float(silhouette_score(values, classes))


def neighbours_agree(
    values: np.ndarray, classes: np.ndarray, patients: Sequence[str] | None = None, k: int = NEIGHBOURS
) -> np.ndarray:
    """Whether the commonest class among the k nearest other images is an image's own: 1 or 0, (n,), float64.

    Where fewer than k others are there, they decide; NaN where there is none.

    Args:
        values: Features, (n, d).
        classes: Class of each image, (n,).
        patients: Of each image; those of the same patient are no neighbours then.
        k: How many neighbours.
    """
    n, k = len(values), min(k, len(values) - 1)
    own = np.arange(n) if patients is None else np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1]
    points = values.astype(np.float64) - values.mean(axis=0)
    squares = (points**2).sum(axis=1)
    # the nearer a neighbour the more it adds to its one vote, all of them together less than one
    votes = 1 + 0.5 ** np.arange(1, k + 1)
    right = np.full(n, np.nan)
    step = max(1, _DISTANCES_AT_ONCE // max(1, n))
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        distances = squares[rows, None] + squares - 2 * points[rows] @ points.T
        distances[own[rows, None] == own] = np.inf
        near = np.argsort(distances, axis=1, kind="stable")[:, :k]
        there = np.isfinite(np.take_along_axis(distances, near, axis=1))
        counted = np.zeros((len(rows), int(classes.max()) + 1))
        np.add.at(counted, (np.arange(len(rows))[:, None], classes[near]), votes * there)
        has = there.any(axis=1)
        right[rows[has]] = counted[has].argmax(axis=1) == classes[rows[has]]
    return right
