"""The curves of the paper's figure 7: figures against severity, a panel a corruption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medmamba.drawing import COLOURS, new_figure, png, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
MARKERS = "os^vDPX"
BESIDE = 0.03  # severities, from a line to the next, so that equal ones can be seen
# figure: its name in the legend, line style, marker
LOOKS = {
    "auc": ("AUC", "-", "o"),
    "accuracy": ("accuracy", "-", "s"),
    "balanced_error": ("balanced error", "--", "^"),
    "flip_rate": ("flip rate", "--", "v"),
    "ece": ("ECE", ":", "D"),
}


def curves(report: dict[str, Any]) -> bytes:
    """PNG of every figure against severity with 95 % bands, a panel a corruption; severity 0 is the clean images.

    Args:
        report: From `medmamba.robustness.report.make_report`, with its entry `data`.
    """
    shown = [row["name"] for row in report["corruptions"] if row["applies"]]
    columns = min(COLUMNS, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = new_figure(2.5 * columns, 2.1 * lines)
    # no shared axes and no tight layout: with many panels matplotlib takes long over both
    grid = figure.add_gridspec(lines, columns, wspace=0.12, hspace=0.3)
    for place, name in enumerate(shown):
        panel = figure.add_subplot(grid[place // columns, place % columns])
        _panel(panel, name, report)
        first, last = place % columns == 0, place + columns >= len(shown)
        panel.tick_params(labelleft=first, labelbottom=last)
        panel.set_xlabel("severity" if last else "")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="center left", bbox_to_anchor=(0.92, 0.5), frameon=False)
    data = report["data"]
    title = f"{readable(data['name'])}, split {data['split']}, {report['n']} images"
    figure.suptitle(title, fontsize="medium", y=0.88 + 0.24 / lines)
    return png(figure)


def _panel(axes: Axes, name: str, report: dict[str, Any]) -> None:
    cells = sorted((row for row in report["cells"] if row["corruption"] == name), key=lambda row: row["severity"])
    axes.set(xlim=(-0.2, 5.2), ylim=(-0.02, 1.02), xticks=range(6), yticks=(0, 0.25, 0.5, 0.75, 1))
    axes.set_title(name.replace("_", " "), fontsize="medium")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    severities = [0, *(row["severity"] for row in cells)]
    for colour, (key, (label, style, marker)) in zip(COLOURS, LOOKS.items(), strict=False):
        figures = [report["clean"][key], *(row[key] for row in cells)]
        values, lows, highs = (_numbers(figures, bound) for bound in ("value", "low", "high"))
        axes.fill_between(severities, lows, highs, color=colour, alpha=0.15, linewidth=0)
        axes.plot(severities, values, color=colour, linestyle=style, marker=marker, markersize=3, label=label)
    if report["baseline"] is not None:
        figures = [report["baseline"]["clean"]["balanced_error"], *(row["baseline_balanced_error"] for row in cells)]
        look: dict[str, Any] = {"color": "black", "linestyle": "--", "linewidth": 0.9}
        axes.plot(severities, _numbers(figures, "value"), label="balanced error\nof the baseline", **look)


def by_corruption(axes: Axes, report: dict[str, Any], figure: str, names: Sequence[str]) -> None:
    """One figure against severity in `axes`, a line with its 95 % band a corruption: the form of the paper's figure 7.

    Args:
        axes: Where to draw.
        report: From `medmamba.robustness.report.make_report`.
        figure: Key of `LOOKS`.
        names: Of all corruptions that may come, which decide colours and marks; those that do not apply are left out.
    """
    there = {row["name"] for row in report["corruptions"] if row["applies"]}
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set(xlim=(-0.2, 5.2), xticks=range(6))
    for k, name in enumerate(names):
        if name not in there:
            continue
        cells = sorted((row for row in report["cells"] if row["corruption"] == name), key=lambda row: row["severity"])
        figures = [report["clean"][figure], *(row[figure] for row in cells)]
        values, lows, highs = (_numbers(figures, bound) for bound in ("value", "low", "high"))
        look: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
        x = [severity + (k - (len(names) - 1) / 2) * BESIDE for severity in range(6)]
        axes.fill_between(x, lows, highs, color=look["color"], alpha=0.07, linewidth=0)
        axes.plot(x, values, label=name.replace("_", " "), markersize=4, linewidth=1.3, **look)


def _numbers(figures: list[dict[str, float | None]], key: str) -> list[float]:
    return [math.nan if (value := figure[key]) is None else value for figure in figures]
