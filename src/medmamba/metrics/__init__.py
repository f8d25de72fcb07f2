"""Pure functions of (scores, targets): what a model is worth, with intervals. Needs numpy alone."""

from medmamba.metrics.classification import (
    accuracy,
    auc,
    auc_per_class,
    balanced_accuracy,
    confusion_matrix,
    f1,
    majority_baseline,
    mcc,
    npv,
    precision,
    quadratic_kappa,
    sensitivity,
    specificity,
)
from medmamba.metrics.intervals import bootstrap, wilson
from medmamba.metrics.ranking import roc_curve
from medmamba.metrics.summary import summarise
from medmamba.metrics.wording import headline, in_words

__all__ = [
    "accuracy",
    "auc",
    "auc_per_class",
    "balanced_accuracy",
    "bootstrap",
    "confusion_matrix",
    "f1",
    "headline",
    "in_words",
    "majority_baseline",
    "mcc",
    "npv",
    "precision",
    "quadratic_kappa",
    "roc_curve",
    "sensitivity",
    "specificity",
    "summarise",
    "wilson",
]
