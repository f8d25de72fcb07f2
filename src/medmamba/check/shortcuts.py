"""Whether the classes can be told without looking at the picture: by its border, or by its file.

A random forest is asked, in five parts of the data that are taken out in turn (copies of a picture, and a patient's
pictures, always together). What it gets right far beyond chance, a network can learn too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medmamba.check.scan import Look
from medmamba.metrics import bootstrap
from medmamba.metrics.ranking import rank_auc

LIKELY = 0.80  # AUC of a class against the rest, at the low end of its interval
PARTS = 5
MOST = 3000  # images that are looked at
TREES = 100


@dataclass(frozen=True)
class Shortcut:
    """A class that something beside the picture gives away.

    Attributes:
        by: `border` or `file`.
        label: Index of the class.
        auc: Of the class against the rest, in images that the forest had not seen.
        low: Of its 95 % interval.
        high: Of its 95 % interval.
    """

    by: str
    label: int
    auc: float
    low: float
    high: float


def find_shortcuts(looks: Sequence[Look], targets: np.ndarray, units: np.ndarray, *, seed: int = 0) -> list[Shortcut]:
    """Shortcuts that are likely, by class.

    Args:
        looks: What was seen of each image.
        targets: (n,), or 0 and 1 (n, classes) for multi-label.
        units: What must stay together, (n,): a patient, or the copies of a picture.
        seed: Of the forest, the parts and the sample.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(looks))[:MOST])
    looks, targets, units = [looks[row] for row in rows], targets[rows], units[rows]
    truths = targets if targets.ndim == 2 else np.eye(int(targets.max(initial=0)) + 1, dtype=np.int64)[targets]
    found = []
    for by, features in {"border": border_of(looks), "file": file_of(looks)}.items():
        if len(features) == 0 or (features == features[:1]).all():
            continue
        problems = [targets] if targets.ndim == 1 else list(truths.T)
        columns = [scores for problem in problems if (scores := _held_out(features, problem, units, seed)) is not None]
        if len(columns) < len(problems):
            continue
        scores = columns[0] if targets.ndim == 1 else np.column_stack([column[:, -1] for column in columns])
        for label in range(truths.shape[1]):
            interval = _auc(scores[:, label], truths[:, label], units)
            if interval is not None and interval[1] >= LIKELY:
                found.append(Shortcut(by, label, *interval))
    return found


def border_of(looks: Sequence[Look]) -> np.ndarray:
    """What the border looks like, (n, 32)."""
    return np.stack([look.border for look in looks]) if looks else np.empty((0, 0))


def file_of(looks: Sequence[Look]) -> np.ndarray:
    """Size of the file, height, width and kind, (n, 3 + kinds)."""
    kinds = sorted({look.kind for look in looks})
    rows = [(look.file_size, *look.size, *(look.kind == kind for kind in kinds)) for look in looks]
    return np.array(rows, dtype=np.float64)


def _held_out(features: np.ndarray, targets: np.ndarray, units: np.ndarray, seed: int) -> np.ndarray | None:
    """Probabilities (n, classes) from forests that had not seen the image; None where a class has too few units."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min((len(set(units[targets == label])) for label in np.unique(targets)), default=0)
    if fewest < PARTS or len(np.unique(targets)) < 2:
        return None
    scores = np.zeros((len(targets), int(targets.max()) + 1))
    parts = StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed)
    for rest, part in parts.split(features, targets, units):
        forest = RandomForestClassifier(TREES, min_samples_leaf=3, random_state=seed, n_jobs=-1)
        forest.fit(features[rest], targets[rest])
        scores[np.ix_(part, forest.classes_)] = forest.predict_proba(features[part])
    return scores


def _auc(scores: np.ndarray, truth: np.ndarray, units: np.ndarray) -> tuple[float, float, float] | None:
    """Value, low and high end; None without both kinds of images."""

    def statistic(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return rank_auc(scores, truth, weights)[:, None]

    value = float(rank_auc(scores, truth))
    interval = bootstrap(statistic, scores, truth, groups=[str(unit) for unit in units], resamples=300)[0]
    return None if interval is None or np.isnan(value) else (value, *interval)
