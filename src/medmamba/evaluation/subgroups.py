"""The same figures for parts of the images: by site, device, sex, or whatever column a table has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from medmamba.data.dataset import ImageSet
from medmamba.errors import InputError, suggest

MOST = 20  # different values that are shown one by one; numbers with more are cut in quarters
UNKNOWN = "not given"  # an empty cell
KEPT = ("n", "patients", "accuracy", "balanced_accuracy", "auc", "absent_classes")
RATES = ("sensitivity", "specificity", "precision", "npv")


def check_columns(images: ImageSet, columns: Sequence[str], name: str) -> dict[str, list[str]]:
    """The subgroup of each image, by column as it is written in the table.

    Args:
        images: With attributes.
        columns: Asked for, in any case.
        name: Of the data, for messages.

    Raises:
        InputError: The table has no such column, or it has too many values to be shown.
    """
    known = {title.lower(): title for title in images.attributes}
    found = {}
    for column in columns:
        title = known.get(column.strip().lower())
        if title is None:
            there = ", ".join(images.attributes) or "none; give a table with one"
            hint = suggest(column, tuple(images.attributes))
            raise InputError(f"{name} has no column {column!r} to divide by, only {there}{hint}")
        found[title] = _values(images.attributes[title], title, name)
    return found


def _values(cells: Sequence[str], title: str, name: str) -> list[str]:
    different = {cell for cell in cells if cell}
    if len(different) <= MOST:
        return [cell or UNKNOWN for cell in cells]
    try:
        numbers = np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        raise InputError(
            f"column {title!r} of {name} has {len(different)} different values, too many for subgroups; "
            f"divide by a column with {MOST} or fewer, or by numbers"
        ) from None
    edges = np.nanquantile(numbers, [0, 0.25, 0.5, 0.75, 1])
    quarters = np.searchsorted(edges[1:-1], numbers, side="right")
    words = [f"{low:g} to {'under ' * (k < 3)}{high:g}" for k, (low, high) in enumerate(pairwise(edges))]
    return [UNKNOWN if np.isnan(number) else words[quarter] for number, quarter in zip(numbers, quarters, strict=True)]


def divide(
    groups: dict[str, list[str]], measure: Callable[[np.ndarray], dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Figures of each subgroup, by column.

    Args:
        groups: From `check_columns`.
        measure: The summary of some images, by their rows, as `medmamba.metrics.summarise` gives it.

    Returns:
        For each column a list, the largest subgroup first: `value`, `n`, `patients`, `absent_classes`, and figures with
        intervals: `accuracy`, `balanced_accuracy`, `auc`; and of the positive class, or as macro means, `sensitivity`,
        `specificity`, `precision` and `npv`.
    """
    divided = {}
    for title, values in groups.items():
        cells = np.asarray(values)
        names, counts = np.unique(cells, return_counts=True)
        divided[title] = [
            {"value": str(name), **_kept(measure(np.flatnonzero(cells == name)))} for name in names[np.argsort(-counts)]
        ]
    return divided


def _kept(summary: dict[str, Any]) -> dict[str, Any]:
    rates = summary["positive_class"] or summary["macro"]
    figures = {key: summary[key] for key in KEPT} | {rate: rates[rate] for rate in RATES if rate in rates}
    return {key: _bare(figure) for key, figure in figures.items()}


def _bare(figure: Any) -> Any:
    """A figure without its definition, which stands once in the whole report."""
    if not isinstance(figure, dict):
        return figure
    return {key: figure[key] for key in ("value", "low", "high")}
