"""Pure functions of (scores, targets): what a model is worth, with intervals. Needs numpy alone."""

from medmamba.metrics.calibration import brier, ece, nll, slope_intercept
from medmamba.metrics.calibration_summary import expected_ece, reliability, summarise_calibration
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
from medmamba.metrics.comparison import compare_runs, compare_scores
from medmamba.metrics.conformal import (
    class_quantiles,
    coverage,
    coverage_range,
    prediction_sets,
    quantile,
    true_class_scores,
)
from medmamba.metrics.curves import class_curves
from medmamba.metrics.delong import auc_interval
from medmamba.metrics.ece_interval import ece_interval
from medmamba.metrics.intervals import bootstrap, wilson
from medmamba.metrics.operating import threshold_for_sensitivity, threshold_for_specificity, youden_threshold
from medmamba.metrics.pairs import Difference, delong_test, holm, mcnemar, paired_bootstrap
from medmamba.metrics.ranking import roc_curve
from medmamba.metrics.summary import summarise
from medmamba.metrics.temperature import fit_temperature, scale
from medmamba.metrics.wording import headline, in_words

__all__ = [
    "Difference",
    "accuracy",
    "auc",
    "auc_interval",
    "auc_per_class",
    "balanced_accuracy",
    "bootstrap",
    "brier",
    "class_curves",
    "class_quantiles",
    "compare_runs",
    "compare_scores",
    "confusion_matrix",
    "coverage",
    "coverage_range",
    "delong_test",
    "ece",
    "ece_interval",
    "expected_ece",
    "f1",
    "fit_temperature",
    "headline",
    "holm",
    "in_words",
    "majority_baseline",
    "mcc",
    "mcnemar",
    "nll",
    "npv",
    "paired_bootstrap",
    "precision",
    "prediction_sets",
    "quadratic_kappa",
    "quantile",
    "reliability",
    "roc_curve",
    "scale",
    "sensitivity",
    "slope_intercept",
    "specificity",
    "summarise",
    "summarise_calibration",
    "threshold_for_sensitivity",
    "threshold_for_specificity",
    "true_class_scores",
    "wilson",
    "youden_threshold",
]
