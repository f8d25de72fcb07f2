"""Pictures of a summary as PNG: the confusion matrix and the ROC curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medmamba.drawing import COLOURS, new_figure, png, readable, with_n
from medmamba.metrics import roc_curve
from medmamba.metrics.classification import as_table
from medmamba.metrics.wording import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("-", "--", "-.", ":")  # they take turns as colours do, so that prints in grey work too
MOST_CURVES = 20  # more are drawn in grey, without names
MOST_NUMBERS = 25  # more cells a side are coloured, without numbers
MOST_NAMES = 60  # more class names a side would overlap


def confusion_matrix(summary: dict[str, Any]) -> bytes:
    """PNG of the confusion matrix, rows in shares; for multi-label, what became of each label's images."""
    if summary["confusion_matrix"] is None:
        return _labels_matrix(summary)
    counts = np.array(summary["confusion_matrix"])
    names = summary["classes"]
    side = float(np.clip(1.2 + 0.75 * len(names), 3.2, 14))
    figure, axes = _figure(side, side)
    _cells(axes, counts, counts.sum(axis=1, keepdims=True))
    _ticks(axes, names, [with_n(name, row.sum()) for name, row in zip(names, counts, strict=True)])
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"accuracy {in_words(summary['accuracy'])}", fontsize="medium")
    return png(figure)


def _labels_matrix(summary: dict[str, Any]) -> bytes:
    rows = summary["per_class"]
    cells = ("tp", "fn", "fp", "tn")
    counts = np.array([[row[cell] for cell in cells] for row in rows])
    wholes = np.repeat(np.column_stack([counts[:, :2].sum(axis=1), counts[:, 2:].sum(axis=1)]), 2, axis=1)
    figure, axes = _figure(5.5, float(np.clip(1.5 + 0.45 * len(rows), 3.2, 20)))
    _cells(axes, counts, wholes)
    _ticks(axes, ["found", "missed", "false alarm", "rightly none"], [with_n(row["name"], row["n"]) for row in rows])
    axes.set_xlabel("images with the label | images without it")
    axes.axvline(1.5, color="white", linewidth=4)
    axes.set_title(f"accuracy (mean over labels) {in_words(summary['accuracy'])}", fontsize="medium")
    return png(figure)


def roc(summary: dict[str, Any], scores: np.ndarray, targets: np.ndarray) -> bytes:
    """PNG of the ROC curve of each class against the rest; of a binary task, that of the positive class.

    Args:
        summary: From `medmamba.metrics.summarise`.
        scores: Probabilities, (n, classes).
        targets: Class indices (n,); for multi-label 0 or 1, (n, classes).
    """
    truth = as_table(targets, len(summary["classes"]))
    positive = summary["positive_class"]
    figure, axes = _figure(5.2, 5.2)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    for k, row in enumerate(summary["per_class"]):
        curve = roc_curve(scores[:, k], truth[:, k])
        if curve is None or (positive is not None and row["name"] != positive["name"]):
            continue
        many = len(summary["classes"]) > MOST_CURVES
        look = {"color": "#999999", "linewidth": 0.6} if many else _look(k)
        axes.plot(*curve, label=None if many else f"{in_words(row['auc'])}  {readable(row['name'])}", **look)
    if positive is not None:
        _operating_point(axes, positive)
    kind = f"AUC of {readable(positive['name'])}" if positive is not None else "macro AUC"
    axes.set_title(f"{kind}: {in_words(summary['auc'])}", fontsize="medium")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    if axes.get_legend_handles_labels()[0]:
        beside = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "title": "AUC (95 % interval) of a class"}
        axes.legend(frameon=False, fontsize="small", **({"loc": "lower right"} if positive is not None else beside))
    return png(figure)


def _look(k: int) -> dict[str, Any]:
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": STYLES[k % len(STYLES)], "linewidth": 1.6}


def _operating_point(axes: Axes, positive: dict[str, Any]) -> None:
    specificity, sensitivity = positive["specificity"]["value"], positive["sensitivity"]["value"]
    if specificity is not None and sensitivity is not None:
        label = f"threshold {positive['threshold']:g}: sensitivity {sensitivity:.3f},\nspecificity {specificity:.3f}"
        axes.plot(1 - specificity, sensitivity, "o", color="black", label=label)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = new_figure(width, height)
    return figure, figure.add_subplot()


def _cells(axes: Axes, counts: np.ndarray, wholes: np.ndarray) -> None:
    """Counts (rows, columns) as coloured cells, the colour by the share of `wholes` (broadcast to the same shape)."""
    shares = np.divide(counts, wholes, out=np.zeros(counts.shape), where=wholes > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if max(counts.shape) > MOST_NUMBERS:
        return
    for (row, column), value in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.55 else "black"
        text = f"{value}\n{shares[row, column]:.0%}" if counts.shape[0] == counts.shape[1] else f"{value}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize="small")


def _ticks(axes: Axes, columns: list[str], rows: list[str]) -> None:
    columns, rows = (
        [readable(name) for name in names] if len(names) <= MOST_NAMES else [] for names in (columns, rows)
    )
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
