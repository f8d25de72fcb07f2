"""What a sweep found, as a table in words, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from medmamba.bundle import Bundle
from medmamba.data.dataset import ImageSet
from medmamba.errors import InputError
from medmamba.robustness.figures import FIGURES, LEAST, Cells, estimate
from medmamba.robustness.pixels import WORKING
from medmamba.robustness.scoring import Answers
from medmamba.robustness.table import SEVERITIES, Corruption
from medmamba.tasks import Task, decide

DEFINITIONS = {
    "accuracy": "as in metrics.json of an evaluation",
    "auc": "as in metrics.json of an evaluation",
    "balanced_error": "1 - balanced accuracy",
    "flip_rate": "share of images whose answer is another one than for the clean image (Young et al. 2021)",
    "ece": "expected calibration error: mean distance between confidence and share of right answers in 15 bins of "
    "equal width; biased upwards for few images",
    "mean_change": "mean distance between the pixels that reach the model clean and corrupted, in grey levels of 255",
    "be": "balanced error over the five severities, divided by that of the baseline (MedMNIST-C)",
    "rbe": "the same of what the balanced error rises above that of the clean images (MedMNIST-C)",
}


def make_report(
    bundles: Sequence[Bundle],
    images: ImageSet,
    corruptions: Sequence[Corruption],
    answers: Sequence[Answers],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """All figures of a sweep.

    Args:
        bundles: The model, and the baseline where there is one.
        images: Those that were scored.
        corruptions: Rows of the table.
        answers: Of each model for these images and corruptions.
        resamples: Bootstrap draws; 0 for no intervals.
        seed: Of the bootstrap.

    Returns:
        `n`, `task`, `classes`, `clean` (figures), `cells` (one a corruption and severity, the largest balanced error
        first), `corruptions` (one each, also those that do not apply), `baseline` or None, `shrunk`, `definitions`,
        `intervals`, `notes`. A figure is `{"value", "low", "high"}`, None where it cannot be computed.

    Raises:
        InputError: None of the corruptions applies.
    """
    applies = [not (corruption.needs_colour and answers[0].grey.all()) for corruption in corruptions]
    kept = [k for k, here in enumerate(applies) if here]
    if not kept:
        raise InputError("none of the corruptions applies to grey images; choose others with --corruptions")
    cells = [
        Cells(bundle, images.targets, answer.clean, answer.corrupted[kept])
        for bundle, answer in zip(bundles, answers, strict=True)
    ]
    baseline = cells[1] if len(cells) > 1 else None
    found = estimate(cells[0], baseline, groups=images.groups, resamples=resamples, seed=seed)
    bundle = bundles[0]
    report = {
        "n": len(images),
        "task": str(bundle.task),
        "classes": list(bundle.classes),
        "model": _about_model(bundle),
        "clean": _named(found["figures"][0]),
        "cells": _cells([corruptions[k] for k in kept], answers[0].change[kept], found),
        "corruptions": _corruptions(corruptions, applies, found),
        "baseline": None if baseline is None else _baseline(bundles[1], found),
        "shrunk": _shrunk(bundle, answers[0]),
        "definitions": DEFINITIONS,
        "intervals": _about_intervals(resamples, bundle.task, images, paired=baseline is not None),
    }
    return report | {"notes": _notes(report, answers[0], corruptions)}


def _about_model(bundle: Bundle) -> dict[str, Any]:
    return {"name": bundle.model, "preprocessing": bundle.preprocessing.to_dict()}


def _about_intervals(resamples: int, task: Task, images: ImageSet, *, paired: bool) -> str:
    if not resamples:
        return "no intervals were computed"
    unit = "images" if images.groups is None else f"{images.unit}s"
    within = "" if task is Task.MULTILABEL else " within each class"
    return (
        f"expanded percentile bootstrap of {resamples} resamples, {unit} drawn with replacement{within}, the same for "
        f"all cells{' and both models' if paired else ''}; for the ECE an inverted test"
    )


def _named(figures: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(FIGURES, figures, strict=True))


def _cells(corruptions: Sequence[Corruption], change: np.ndarray, found: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a corruption and severity, the largest balanced error first."""
    rows = []
    places = [(k, severity) for k in range(len(corruptions)) for severity in SEVERITIES]
    for number, (k, severity) in enumerate(places, start=1):
        row = {
            "corruption": corruptions[k].name,
            "family": corruptions[k].family,
            "severity": severity,
            "level": _plain(corruptions[k].levels[severity - 1]),
            "mean_change": float(change[k, severity - 1].mean()),
        } | _named(found["figures"][number])
        if "baseline errors" in found:
            row["baseline_balanced_error"] = found["baseline errors"][number]
        rows.append(row)
    return sorted(rows, key=lambda row: -(row["balanced_error"]["value"] or 0.0))


def _corruptions(
    corruptions: Sequence[Corruption], applies: Sequence[bool], found: dict[str, Any]
) -> list[dict[str, Any]]:
    """A row a corruption, in the table's order: what it is, and its figures over all severities."""
    rows, place = [], 0
    for corruption, here in zip(corruptions, applies, strict=True):
        row: dict[str, Any] = {
            "name": corruption.name,
            "family": corruption.family,
            "level": corruption.level,
            "levels": [_plain(level) for level in corruption.levels],
            "source": corruption.source,
            "applies": here,
            "why_not": None if here else "not applicable: the images are grey",
        }
        for key, name in {"balanced_error": "mean error", "be": "be", "rbe": "rbe"}.items():
            row[key] = found[name][place] if here and name in found else None
        place += here
        rows.append(row)
    return rows


def _plain(level: float | tuple[float, ...]) -> float | list[float]:
    return list(level) if isinstance(level, tuple) else level


def _baseline(bundle: Bundle, found: dict[str, Any]) -> dict[str, Any]:
    clean = {"balanced_error": found["baseline errors"][0]}
    return {"model": _about_model(bundle), "clean": clean, "be": found["mean be"][0], "rbe": found["mean rbe"][0]}


def _shrunk(bundle: Bundle, answers: Answers) -> dict[str, Any]:
    """What shrinking large pictures alone did, before any corruption."""
    before, after = (
        decide(bundle.task, scores, threshold=bundle.threshold, positive=bundle.positive).reshape(len(scores), -1)
        for scores in (answers.clean, answers.shrunk)
    )
    flips = int((before != after).any(axis=1).sum())
    return {"images": int(answers.large.sum()), "flips": flips}


def _notes(report: dict[str, Any], answers: Answers, corruptions: Sequence[Corruption]) -> list[str]:
    """Sentences that change how the figures are read."""
    notes = [f"{row['name']}: {row['why_not']}." for row in report["corruptions"] if not row["applies"]]
    coloured = [corruption.name for corruption in corruptions if corruption.needs_colour]
    if coloured and 0 < (grey := int(answers.grey.sum())) < len(answers.grey):
        notes.append(f"{grey} of {len(answers.grey)} images are grey and stay clean under {', '.join(coloured)}.")
    if idle := [f"{row['corruption']} {row['severity']}" for row in report["cells"] if row["mean_change"] == 0]:
        notes.append(f"These changed no pixel that reaches the model, whose images are small: {', '.join(idle)}.")
    if report["shrunk"]["images"]:
        shrunk, flips = report["shrunk"]["images"], report["shrunk"]["flips"]
        notes.append(
            f"{shrunk} of {report['n']} images were shrunk before they were corrupted, to a short side of {WORKING} "
            f"pixels or that of the model; this alone changed {flips} of the answers."
        )
    if report["baseline"] is not None:
        notes += _unknown_ratios(report["corruptions"])
    return notes


def _unknown_ratios(rows: Sequence[dict[str, Any]]) -> list[str]:
    notes = []
    for key, name, of in (("be", "BE", "error"), ("rbe", "rBE", "rise of the error")):
        unknown = [row["name"] for row in rows if row["applies"] and row[key]["value"] is None]
        if unknown:
            notes.append(
                f"No {name} for {', '.join(unknown)}: the baseline's {of} is below {LEAST}; the mean leaves them out."
            )
    return notes


def cells_table(report: dict[str, Any]) -> str:
    """CSV text, a row a corruption and severity, the worst first; empty where there is no figure."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    figures = [*FIGURES, *(["baseline_balanced_error"] if report["baseline"] is not None else [])]
    bounds = [column for figure in figures for column in (figure, f"{figure}_low", f"{figure}_high")]
    writer.writerow(["corruption", "family", "severity", "level", "mean_change", *bounds])
    for row in report["cells"]:
        level = " ".join(map(str, row["level"])) if isinstance(row["level"], list) else row["level"]
        numbers = [row[figure][key] for figure in figures for key in ("value", "low", "high")]
        head = [row["corruption"], row["family"], row["severity"], level, row["mean_change"]]
        writer.writerow([*head, *("" if number is None else repr(number) for number in numbers)])
    return text.getvalue()
