"""The words beside the figures: how each is defined, and what a reader must not miss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medmamba.metrics.estimates import BOOTSTRAP, DELONG, LEVEL, WILSON
from medmamba.metrics.lopsided import lopsided
from medmamba.tasks import Task

AVERAGES = {
    "macro": "plain mean of the per-class figures over the classes present; with two classes, macro sensitivity and "
    "macro specificity are the same number",
    "weighted": "mean of the per-class figures over the classes present, each weighted by its number of images",
}


INTERVALS = {
    WILSON: "Wilson's score interval",
    DELONG: "DeLong's interval on the logit scale",
    BOOTSTRAP: "expanded percentile bootstrap",
}
NAMES = {"precision": "PPV", "npv": "NPV", "f1": "F1"}  # on a terminal, of a named positive class


def with_interval(definition: str, method: str | None) -> str:
    """A definition, and how its interval was made."""
    return definition if method is None else f"{definition}; {LEVEL:.0%} interval: {INTERVALS[method]}"


def definitions(task: Task, positive: str, threshold: float | Sequence[float]) -> dict[str, str]:
    """What each figure means for a task, by name; `positive` names the positive class of a binary one."""
    area = "the area under the ROC curve of its probability, by ranks, ties counting half"
    if task is Task.MULTILABEL:
        return {
            "accuracy": "mean over labels of the share of images on which the label was decided rightly",
            "majority_baseline": "mean over labels of the accuracy of always giving the label's more frequent answer",
            "balanced_accuracy": "mean over the labels present of (sensitivity + specificity) / 2",
            "mcc": "mean over the labels present of Matthews' correlation coefficient; 0 is chance",
            "auc": f"macro over labels present: plain mean over labels of {area}; "
            "labels without both positives and negatives are left out",
        }
    one_area = f"{positive!r} is the positive class: {area}"
    macro_area = (
        f"macro one-vs-rest over classes present: plain mean over classes of {area}; "
        "classes without both positives and negatives are left out"
    )
    return {
        "accuracy": "share of images whose class was decided rightly",
        "majority_baseline": "accuracy of always giving the most frequent class of these images",
        "balanced_accuracy": "mean sensitivity over the classes present",
        "mcc": "Matthews' correlation coefficient over all classes; 0 is chance",
        "quadratic_kappa": "Cohen's kappa with quadratic weights: agreement of ordered classes beyond chance, where an "
        "answer is the worse the farther it is off; 0 is chance",
        "auc": one_area if task is Task.BINARY else macro_area,
        "positive_class": f"{positive!r} is the positive class, answered from a probability of {threshold:g} on; "
        "precision is the positive predictive value (PPV), npv the negative one; intervals as for every class",
    }


def interval_method(resamples: int, *, patients: bool, repeated: bool, strata: bool) -> str:
    """How the intervals were made, in words; `repeated` says whether some patient has several images."""
    unit = "patients" if patients else "images"
    within = " within each class" if strata else ""
    drawn = f"expanded percentile bootstrap of {resamples} resamples, {unit} drawn with replacement{within}"
    if repeated:
        return f"{drawn}, since images of one patient are not independent" if resamples else "none"
    closed = "Wilson's score interval for proportions, DeLong's on the logit scale for the AUC of one class"
    return f"{closed}; for other figures {drawn if resamples else 'none'}"


def notes(summary: dict[str, Any]) -> list[str]:
    """Sentences about a summary (without its notes) that change how its figures are read."""
    if summary["n"] == 0:
        return ["There are no images here, so nothing could be computed."]
    sentences = []
    if absent := summary["absent_classes"]:
        named = ", ".join(repr(name) for name in absent)
        sentences.append(f"There are no cases here of {named}; averages over classes leave them out.")
    if summary["auc"]["value"] is None:
        sentences.append("No AUC can be computed: no class has images both with and without it.")
    sentences += lopsided(Task(summary["task"]), summary["per_class"], summary["n"])
    return sentences + _about_baseline(summary)


def _about_baseline(summary: dict[str, Any]) -> list[str]:
    accuracy, low = summary["accuracy"]["value"], summary["accuracy"]["low"]
    baseline, common = summary["majority_baseline"]["value"], summary["majority_baseline"]["class"]
    always = f"always answering {common!r}" if common is not None else "always giving each label's commoner answer"
    if accuracy <= baseline:
        return [f"The model's accuracy, {accuracy:.3f}, is no better than that of {always}, {baseline:.3f}."]
    if low is not None and low <= baseline:
        return [
            f"The model's accuracy, {accuracy:.3f}, is not clearly better than that of {always}, {baseline:.3f}: "
            f"its interval begins at {low:.3f}."
        ]
    return []


def headline(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The few lines a terminal shows of a summary: (name, figure with interval), by name, never by position."""
    rows = [
        ("AUC", in_words(summary["auc"])),
        ("accuracy", in_words(summary["accuracy"])),
        ("majority baseline", in_words(summary["majority_baseline"])),
        ("balanced accuracy", in_words(summary["balanced_accuracy"])),
        ("MCC", in_words(summary["mcc"])),
    ]
    if summary["quadratic_kappa"] is not None:
        rows.append(("quadratic kappa", in_words(summary["quadratic_kappa"])))
    if (positive := summary["positive_class"]) is not None:
        names = ("sensitivity", "specificity", "precision", "npv", "f1")
        return rows + [(f"{NAMES.get(name, name)} of {positive['name']}", in_words(positive[name])) for name in names]
    macro = {"sensitivity": "sensitivity", "specificity": "specificity", "precision": "precision", "f1": "F1"}
    return rows + [(f"macro {word}", in_words(summary["macro"][name])) for name, word in macro.items()]


def in_words(figure: dict[str, Any]) -> str:
    """A figure as `0.912 (0.861 to 0.955)`; `not computable` where there is none."""
    if figure["value"] is None:
        return "not computable"
    if figure.get("low") is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
