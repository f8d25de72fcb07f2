"""Thresholds for two-class answers, or for one label, chosen on validation images: "yes" from the threshold on.

A threshold lies halfway between two neighbouring scores. At a score itself it would be glued to one case: rounding in
another precision or an exported file could turn that case over, and the next case a hair below would be missed.
Scores are probabilities; where there is no neighbour, 0 or 1 takes its place.
"""

from __future__ import annotations

import math

import numpy as np

from medmamba.errors import InputError


def threshold_for_sensitivity(scores: np.ndarray, truth: np.ndarray, sensitivity: float) -> float:
    """The highest threshold at which at least this share of the positives is found.

    Args:
        scores: Probabilities of the positive class, (n,).
        truth: (n,), 1 for positives, 0 for negatives.
        sensitivity: Above 0, up to 1.

    Raises:
        InputError: There is no positive, or the sensitivity is no such share.
    """
    positives = np.sort(scores[np.asarray(truth) > 0])
    needed = _needed(sensitivity, len(positives), "sensitivity", "positive")
    lowest_found = positives[len(positives) - needed]
    return _between(np.max(scores[scores < lowest_found], initial=0.0), lowest_found)


def threshold_for_specificity(scores: np.ndarray, truth: np.ndarray, specificity: float) -> float:
    """The lowest threshold at which at least this share of the negatives is left alone.

    Args:
        scores: Probabilities of the positive class, (n,).
        truth: (n,), 1 for positives, 0 for negatives.
        specificity: Above 0, up to 1.

    Raises:
        InputError: There is no negative, the specificity is no such share, or negatives have probability 1.
    """
    negatives = np.sort(scores[np.asarray(truth) == 0])
    highest_passed = negatives[_needed(specificity, len(negatives), "specificity", "negative") - 1]
    if highest_passed >= 1:
        raise InputError(
            f"no threshold has a specificity of {specificity:g}: negatives have probability 1; ask for less"
        )
    return _between(highest_passed, np.min(scores[scores > highest_passed], initial=1.0))


def youden_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold with the largest sensitivity + specificity - 1 (Youden 1950).

    Args:
        scores: Probabilities of the positive class, (n,).
        truth: (n,), 1 for positives, 0 for negatives.

    Returns:
        In the widest gap between neighbouring scores if several are as good; 0.5 if none is better than chance.

    Raises:
        InputError: Positives or negatives are missing.
    """
    positive = np.asarray(truth) > 0
    _needed(1, int(positive.sum()), "sensitivity", "positive")
    _needed(1, int((~positive).sum()), "specificity", "negative")
    values, which = np.unique(scores, return_inverse=True)
    # of each distinct score but the lowest: what is found, and what is a false alarm, from it on
    found, alarms = (
        np.cumsum(np.bincount(which[side], minlength=len(values))[::-1])[-2::-1] / side.sum()
        for side in (positive, ~positive)
    )
    index = found - alarms
    if len(values) < 2 or index.max() <= 0:
        return 0.5
    gaps = np.where(index >= index.max() - 1e-12, np.diff(values), -1.0)
    k = int(gaps.argmax())
    return _between(values[k], values[k + 1])


def _needed(share: float, cases: int, name: str, kind: str) -> int:
    """How many of the cases make up at least this share."""
    if not 0 < share <= 1:
        raise InputError(f"a {name} of {share:g} was asked for; give a share above 0 and up to 1, such as 0.95")
    if cases == 0:
        raise InputError(f"a threshold cannot be chosen without {kind} images; choose it on images that have some")
    return max(1, math.ceil(share * cases - 1e-9))


def _between(low: float | np.floating, high: float | np.floating) -> float:
    """Halfway, but above `low` even where the two are neighbours among floating-point numbers."""
    middle = (float(low) + float(high)) / 2
    return middle if middle > low else float(high)
