"""Whether a model answers nearly always the same: what accuracy and AUC do not show where a class is rare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medmamba.metrics.classification import count, sensitivity
from medmamba.tasks import Task

SHARE = 0.95  # of the answers, from which one class is worth a sentence


def class_rows(classes: Sequence[str], decisions: np.ndarray, targets: np.ndarray) -> list[dict[str, Any]]:
    """One a class: {"name", "n", "tp", "fp", "fn", "tn", "sensitivity"}, the last None without cases.

    Args:
        classes: Names.
        decisions: Class indices (n,); for multi-label 0 or 1, (n, classes).
        targets: Of the same shape.
    """
    counts = count(decisions, targets, len(classes))
    shares = sensitivity(decisions, targets, len(classes))
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(classes):
        cells = {cell: int(getattr(counts, cell)[k]) for cell in ("tp", "fp", "fn", "tn")}
        rows.append({"name": name, "n": cells["tp"] + cells["fn"], **cells, "sensitivity": shares[k]})
    return rows


def lopsided(task: Task, rows: Sequence[Mapping[str, Any]], n: int) -> list[str]:
    """A sentence where a class with cases was never answered, and one where another has over `SHARE` of the answers.

    Args:
        task: For multi-label there is no second sentence: most images may lack any label.
        rows: One a class, with "name", "n", "tp" and "fp", of `class_rows` or a summary.
        n: Images.
    """
    never = [f"{row['name']!r} ({row['n']} images)" for row in rows if row["n"] and not row["tp"] + row["fp"]]
    sentences = [f"The model never answered {', '.join(never)}."] if never else []
    for row in rows if task is not Task.MULTILABEL else ():
        answers = row["tp"] + row["fp"]
        if answers > max(SHARE * n, row["n"]):
            share, truth = answers / n, row["n"] / n
            sentences.append(f"{share:.0%} of the answers are {row['name']!r}, which {truth:.0%} of the images are.")
    return sentences
