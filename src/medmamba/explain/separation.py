"""How well features tell classes apart, in figures that need no picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medmamba.metrics import bootstrap

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
        groups = (
            None if patients is None else [patient for patient, counted in zip(patients, known, strict=True) if counted]
        )
        figure["value"] = float(right[known].mean())
        interval = bootstrap(
            lambda answers, _, weights: (weights @ answers / weights.sum(axis=1))[:, None],
            right[known],
            classes[known],
            groups=groups,
            resamples=RESAMPLES,
            seed=seed,
        )[0]
        if interval is not None:
            figure |= {"low": interval[0], "high": interval[1]}
    return {"silhouette": {"value": silhouette(values, classes)}, "neighbours": figure}


def interval_method(*, patients: bool, seed: int) -> dict[str, Any]:
    """How the interval of the nearest-neighbour accuracy is made, as `embedding.json` holds it."""
    unit = "patients" if patients else "images"
    method = f"percentile bootstrap of {RESAMPLES} resamples, {unit} drawn with replacement within each class"
    return {"method": method, "level": 0.95, "resamples": RESAMPLES, "seed": seed, "unit": unit.removesuffix("s")}


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
