"""Everything that is reported about a model on one split, as one dictionary that goes to JSON unchanged.

Schema (a *figure* is `{"value": v, "low": l, "high": h}`, each a number or None; None means "cannot be computed from
these images", and NaN never occurs); `docs/reference/metrics.md` says the same with more words:

    schema              2; raised when a key changes its meaning
    task                "binary", "multi-class", "multi-label" or "ordinal"
    n, patients         images; patients where they are known, else None
    classes             names in the model's order
    absent_classes      names of those without a single case here
    accuracy            figure + "definition"
    majority_baseline   {"value", "class", "definition"}: accuracy of always giving the most frequent class
    balanced_accuracy   figure + "definition"
    mcc                 figure + "definition"
    quadratic_kappa     ordinal only, else None: figure + "definition"
    auc                 figure + "definition", "classes_counted", "classes_left_out" (names)
    macro, weighted     {"precision", "npv", "sensitivity", "specificity", "f1": figures, "definition"}
    positive_class      binary only, else None: {"name", "threshold", "n", "tp", "fp", "fn", "tn",
                        "precision", "npv", "sensitivity", "specificity", "f1", "auc": figures, "definition"}
    per_class           one a class: {"name", "n", "tp", "fp", "fn", "tn", and the same six figures}
    confusion_matrix    counts, rows true, columns decided, in the order of `classes`; None for multi-label
    threshold           what decided (binary: for the positive class; multi-label: for all labels, or a list with one a
                        label), else None
    interval            {"method", "methods", "level", "resamples", "seed", "unit": "image" or "patient"}; "methods" has
                        "Wilson", "DeLong", "bootstrap" or None for each figure by name, those of classes in "per_class"
    notes               sentences that a reader must not miss
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medmamba.errors import InputError
from medmamba.metrics.classification import confusion_matrix, count, majority_baseline
from medmamba.metrics.counts import Counts
from medmamba.metrics.estimates import LEVEL, estimate, methods
from medmamba.metrics.figures import OVERALL, RATES
from medmamba.metrics.intervals import repeat
from medmamba.metrics.wording import AVERAGES, definitions, interval_method, notes, with_interval
from medmamba.tasks import Task, decide

SCHEMA = 2


def summarise(
    task: Task,
    scores: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    *,
    positive: int = 1,
    threshold: float | Sequence[float] = 0.5,
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures of a model on one split, with intervals, counts and definitions; the schema stands above.

    Args:
        task: What was asked.
        scores: Probabilities, (n, classes).
        targets: Class indices (n,); for multi-label 0 or 1, (n, classes).
        classes: Names, in the order of the columns.
        positive: Index of the positive class of a binary task.
        threshold: Probability from which a binary model answers its positive class, a multi-label model each label;
            for multi-label it may be one a label, (classes,).
        groups: Patient of each image, (n,). Where some patient has several images, all intervals are from whole
            patients resampled, since formulas suppose independent cases.
        resamples: Bootstrap draws; 0 leaves out the intervals that need them.
        seed: Of the bootstrap.

    Raises:
        InputError: If shapes do not fit the task or each other, or a score is not finite.
    """
    check(task, scores, targets, classes, groups)
    scores = scores.astype(np.float64)
    decisions = decide(task, scores, threshold=threshold, positive=positive)
    figures = estimate(
        task, scores, decisions, targets, positive=positive, groups=groups, resamples=resamples, seed=seed
    )
    how = methods(task, groups, resamples)
    words = definitions(task, classes[positive] if task is Task.BINARY else "", threshold)
    counts = count(decisions, targets, len(classes))
    rows = _class_rows(classes, counts, figures)
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "task": str(task),
        "n": len(targets),
        "patients": None if groups is None else len(set(groups)),
        "classes": list(classes),
        "absent_classes": [row["name"] for row in rows if row["n"] == 0],
        "quadratic_kappa": None,
        **{
            name: {**figures[name], "definition": with_interval(words[name], how[name])}
            for name in (*OVERALL, "quadratic_kappa", "auc")
            if name in figures
        },
        **{name: _average(name, figures, how[name]) for name in AVERAGES},
        "majority_baseline": _baseline(classes, targets, counts) | {"definition": words["majority_baseline"]},
        "positive_class": None,
        "per_class": rows,
        "confusion_matrix": confusion_matrix(decisions, targets, len(classes)).tolist() if counts.exclusive else None,
        "threshold": np.asarray(threshold, float).tolist() if task in (Task.BINARY, Task.MULTILABEL) else None,
        "interval": {
            "method": interval_method(
                resamples, patients=groups is not None, repeated=repeat(groups), strata=counts.exclusive
            ),
            "methods": how,
            "level": LEVEL,
            "resamples": resamples,
            "seed": seed,
            "unit": "image" if groups is None else "patient",
        },
    }
    left_out = [row["name"] for row in rows if row["auc"]["value"] is None]
    summary["auc"] |= {"classes_counted": len(rows) - len(left_out), "classes_left_out": left_out}
    if task is Task.BINARY:
        summary["positive_class"] = rows[positive] | {
            "threshold": summary["threshold"],
            "definition": words["positive_class"],
        }
    return summary | {"notes": notes(summary)}


def check(
    task: Task, scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], groups: Sequence[str] | None
) -> None:
    """Refuse scores and targets that do not belong together: InputError says which."""
    n, expected = len(targets), (len(targets), len(classes))
    if task is Task.BINARY and len(classes) != 2:
        raise InputError(f"a binary task has two classes, not {len(classes)}; say multi-class for more")
    if scores.shape != expected:
        raise InputError(
            f"scores have the shape {scores.shape}, but {n} images and {len(classes)} classes need {expected}"
        )
    wanted = expected if task is Task.MULTILABEL else (n,)
    if targets.shape != wanted:
        raise InputError(f"a {task} task needs targets of the shape {wanted}, not {targets.shape}; is the task right?")
    if groups is not None and len(groups) != n:
        raise InputError(f"{len(groups)} patients are named for {n} images; give one for each image")
    broken = int((~np.isfinite(scores)).any(axis=1).sum())
    if broken:
        raise InputError(f"the scores of {broken} of {n} images are not finite; the model's weights are damaged")


def _class_rows(classes: Sequence[str], counts: Counts, figures: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for k, name in enumerate(classes):
        row: dict[str, Any] = {"name": name, "n": int(counts.positives[k])}
        row |= {cell: int(getattr(counts, cell)[k]) for cell in ("tp", "fp", "fn", "tn")}
        rows.append(row | {figure: figures[f"each {figure}"][k] for figure in (*RATES, "auc")})
    return rows


def _average(name: str, figures: dict[str, Any], method: str | None) -> dict[str, Any]:
    return {rate: figures[f"{name} {rate}"] for rate in RATES} | {"definition": with_interval(AVERAGES[name], method)}


def _baseline(classes: Sequence[str], targets: np.ndarray, counts: Counts) -> dict[str, Any]:
    """The most frequent class and the accuracy of always giving it; no single class for multi-label."""
    known = counts.exclusive and len(targets) > 0
    return {
        "value": majority_baseline(targets),
        "class": classes[int(counts.positives.argmax())] if known else None,
    }
