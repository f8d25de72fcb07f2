"""The curves of the paper's figure 7: figures against severity, a panel a corruption."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medmamba.drawing import COLOURS, new_figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
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
    shown = [row for row in report["corruptions"] if row["applies"]]
    columns = min(COLUMNS, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = new_figure(2.6 * columns + 1.4, 2.3 * lines + 0.8)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat
    for panel, row in zip(panels, shown, strict=False):
        _panel(panel, row["name"], report)
    for panel in list(panels):
        panel.set_visible(False)
    for axes in figure.axes:
        axes.label_outer()
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.suptitle(f"{report['data']['name']}, {report['data']['split']}, n = {report['n']}", fontsize="medium")
    figure.tight_layout()
    return png(figure)


def _panel(axes: Axes, name: str, report: dict[str, Any]) -> None:
    cells = sorted((row for row in report["cells"] if row["corruption"] == name), key=lambda row: row["severity"])
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
    axes.set_title(name.replace("_", " "), fontsize="medium")
    axes.set(xlabel="severity", xticks=range(6), ylim=(-0.02, 1.02))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)


def _numbers(figures: list[dict[str, float | None]], key: str) -> list[float]:
    return [math.nan if (value := figure[key]) is None else value for figure in figures]
