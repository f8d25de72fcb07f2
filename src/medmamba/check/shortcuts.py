"""Whether the classes can be told without looking at the picture: by its border, or by its file.

A random forest is asked, in five parts of the data that are taken out in turn (copies of a picture, and a patient's
pictures, always together). What it gets right far beyond chance, a network can learn too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    if not looks:
        return []
    found = []
    for by, features in {"border": border_of(looks), "file": file_of(looks)}.items():
        if (features == features[:1]).all():
            continue
        for label, truth, scores, rows in _problems(features, targets, units, seed):
            interval = _auc(scores, truth, units[rows])
            if interval is not None and interval[1] >= LIKELY:
                found.append(Shortcut(by, label, *interval))
    return found


def not_looked_for(targets: np.ndarray, units: np.ndarray, classes: int) -> list[int]:
    """Classes that are too rare for it, each with fewer patients or pictures than there are parts."""
    return [label for label in range(classes) if len(set(units[_has(targets, label)])) < PARTS]


def _has(targets: np.ndarray, label: int) -> np.ndarray:
    return targets == label if targets.ndim == 1 else targets[:, label] == 1


def _problems(
    features: np.ndarray, targets: np.ndarray, units: np.ndarray, seed: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """(class, truth, scores, rows) of every class that is frequent enough; without the images of those that are not."""
    if targets.ndim == 2:
        everything = np.arange(len(targets))
        for label in range(targets.shape[1]):
            scores = _held_out(features, targets[:, label], units, seed)
            if scores is not None:
                yield label, targets[:, label], scores[:, -1], everything
        return
    classes = int(targets.max()) + 1
    rows = np.flatnonzero(~np.isin(targets, not_looked_for(targets, units, classes)))
    scores = _held_out(features[rows], targets[rows], units[rows], seed)
    if scores is not None:
        for label in np.unique(targets[rows]).tolist():
            yield label, (targets[rows] == label).astype(np.int64), scores[:, label], rows


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
