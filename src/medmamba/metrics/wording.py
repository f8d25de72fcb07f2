"""The words beside the figures: how each is defined, and what a reader must not miss."""

from __future__ import annotations

from typing import Any

from medmamba.tasks import Task

AVERAGES = {
    "macro": "plain mean of the per-class figures over the classes present; with two classes, macro sensitivity and "
    "macro specificity are the same number",
    "weighted": "mean of the per-class figures over the classes present, each weighted by its number of images",
}


def definitions(task: Task, positive: str, threshold: float) -> dict[str, str]:
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
        "auc": one_area if task is Task.BINARY else macro_area,
        "positive_class": f"{positive!r} is the positive class, answered from a probability of {threshold:g} on",
    }


def interval_method(resamples: int, *, patients: bool, strata: bool) -> str:
    """How the intervals were made, in words."""
    if not resamples:
        return "no intervals were computed"
    unit = "patients" if patients else "images"
    within = " within each class" if strata else ""
    return f"percentile bootstrap of {resamples} resamples, {unit} drawn with replacement{within}"


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
    positive = summary["positive_class"]
    rates, which = (summary["macro"], "macro ") if positive is None else (positive, "")
    of = "" if positive is None else f" of {positive['name']}"
    names = ("sensitivity", "specificity", "precision", "f1")
    return rows + [(f"{which}{'F1' if name == 'f1' else name}{of}", in_words(rates[name])) for name in names]


def in_words(figure: dict[str, Any]) -> str:
    """A figure as `0.912 (0.861 to 0.955)`; `not computable` where there is none."""
    if figure["value"] is None:
        return "not computable"
    if figure.get("low") is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
