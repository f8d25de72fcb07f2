"""Single figures of (scores, targets) or (decisions, targets): a number, or None where there is nothing to compute.

`scores` are probabilities (n, classes); `decisions` are what `tasks.decide` makes of them. Targets and decisions are
class indices (n,), or for multi-label 0 and 1, (n, classes).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medmamba.metrics import counts as counting
from medmamba.metrics.counts import Counts
from medmamba.metrics.ranking import mean_auc, rank_auc, rank_aucs
from medmamba.tasks import Task


def number(value: float | np.floating | np.ndarray) -> float | None:
    """A plain float, None for NaN: JSON knows no NaN, and None cannot be averaged by mistake."""
    return None if np.isnan(value) else float(value)


def as_table(targets: np.ndarray, classes: int) -> np.ndarray:
    """Targets or decisions of any task as 0 and 1, (n, classes)."""
    return targets.astype(np.float64) if targets.ndim == 2 else counting.one_hot(targets, classes)


def count(decisions: np.ndarray, targets: np.ndarray, classes: int) -> Counts:
    """Right and wrong decisions of each class against the rest, each (classes,)."""
    return counting.count(as_table(decisions, classes), as_table(targets, classes), exclusive=targets.ndim == 1)


def _overall(figure: Callable[[Counts], np.ndarray], decisions: np.ndarray, targets: np.ndarray) -> float | None:
    if len(targets) == 0:
        return None
    classes = targets.shape[1] if targets.ndim == 2 else 1 + int(max(decisions.max(), targets.max()))
    return number(figure(count(decisions, targets, classes)))


def accuracy(decisions: np.ndarray, targets: np.ndarray) -> float | None:
    """Share of right decisions; for multi-label the mean over labels of that share, as MedMNIST does."""
    return _overall(counting.accuracy, decisions, targets)


def balanced_accuracy(decisions: np.ndarray, targets: np.ndarray) -> float | None:
    """Mean sensitivity over the classes present; for multi-label the mean of (sensitivity + specificity) / 2."""
    return _overall(counting.balanced_accuracy, decisions, targets)


def mcc(decisions: np.ndarray, targets: np.ndarray) -> float | None:
    """Matthews' correlation coefficient, -1 to 1; 0 when the decisions tell nothing."""
    return _overall(counting.mcc, decisions, targets)


def majority_baseline(targets: np.ndarray) -> float | None:
    """Accuracy of always giving the most frequent class of `targets` (for multi-label: of each label)."""
    return _overall(counting.baseline, targets, targets)


def precision(decisions: np.ndarray, targets: np.ndarray, classes: int) -> list[float | None]:
    """TP / (TP + FP) of each class; 0 for a class that has cases and was never answered."""
    return [number(value) for value in counting.precision(count(decisions, targets, classes))]


def npv(decisions: np.ndarray, targets: np.ndarray, classes: int) -> list[float | None]:
    """TN / (TN + FN) of each class; 0 where there are other images and every answer is the class."""
    return [number(value) for value in counting.npv(count(decisions, targets, classes))]


def sensitivity(decisions: np.ndarray, targets: np.ndarray, classes: int) -> list[float | None]:
    """TP / (TP + FN) of each class, also called recall; None for a class without cases."""
    return [number(value) for value in counting.sensitivity(count(decisions, targets, classes))]


def specificity(decisions: np.ndarray, targets: np.ndarray, classes: int) -> list[float | None]:
    """TN / (TN + FP) of each class; None where every image is of the class."""
    return [number(value) for value in counting.specificity(count(decisions, targets, classes))]


def f1(decisions: np.ndarray, targets: np.ndarray, classes: int) -> list[float | None]:
    """2 TP / (2 TP + FP + FN) of each class; None for a class neither present nor answered."""
    return [number(value) for value in counting.f1(count(decisions, targets, classes))]


def quadratic_kappa(decisions: np.ndarray, targets: np.ndarray, classes: int) -> float | None:
    """Cohen's kappa with quadratic weights for ordinal classes, -1 to 1; None where all is of one class."""
    if len(targets) == 0:
        return None
    return number(counting.quadratic_kappa(as_table(decisions, classes), as_table(targets, classes)))


def confusion_matrix(decisions: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    """Images by true class (rows) and decision (columns), (classes, classes) int64; not for multi-label."""
    cells = np.bincount(targets * classes + decisions, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def auc_per_class(scores: np.ndarray, targets: np.ndarray) -> list[float | None]:
    """Area under the ROC curve of each class against the rest; None without both positives and negatives."""
    return [number(value) for value in rank_aucs(scores, as_table(targets, scores.shape[1]))]


def auc(task: Task, scores: np.ndarray, targets: np.ndarray, positive: int = 1) -> float | None:
    """The area under the ROC curve that stands for the whole model, equal to MedMNIST's where theirs exists.

    Args:
        task: Binary: the area of the positive class. Multi-class and ordinal: macro one-vs-rest. Multi-label: the mean
            over labels. Classes without both positives and negatives are left out.
        scores: Probabilities, (n, classes).
        targets: Class indices (n,); for multi-label 0 or 1, (n, classes).
        positive: Index of the positive class of a binary task.

    Returns:
        A number from 0 to 1; None when no class has both positives and negatives.
    """
    if task is Task.BINARY:
        return number(rank_auc(scores[:, positive], targets == positive))
    return number(mean_auc(rank_aucs(scores, as_table(targets, scores.shape[1]))))
