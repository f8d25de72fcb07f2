"""Tables 1 to 7 of the paper (Yue & Li, arXiv 2403.03849v5) as they are printed, one CSV file each in `tables/`.

Cells are text as printed, misprints too. The columns `data` and `model` are ours: the name in `data.catalogue`, and the
key in `paper.networks`. A citation behind a model's name is left out.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import floor

TIMES = "\u00d7"  # as the paper writes the size of a map
FIGURES = ("precision", "sensitivity", "specificity", "f1", "accuracy", "auc")
TITLES = {
    "precision": "P",
    "sensitivity": "Se",
    "specificity": "Sp",
    "f1": "F1",
    "accuracy": "OA",
    "auc": "AUC",
    "flops": "FLOPs, G",
    "parameters": "parameters, M",
}
PERCENT = {"table3", "table4", "table5", "table7"}  # where all figures but the AUC are; table 6 has fractions


@dataclass(frozen=True)
class Value:
    """One cell of a table of results; `printed` is its text."""

    table: str
    data: str
    model: str
    printed_model: str
    metric: str
    printed: str

    @property
    def scale(self) -> int:
        """What the printed number is to be divided by."""
        return 100 if self.table in PERCENT and self.metric in FIGURES and self.metric != "auc" else 1

    @property
    def value(self) -> float:
        """The number, a figure as a fraction."""
        return float(self.printed) / self.scale

    @property
    def rounding(self) -> float:
        """What it may be off by printing so few digits: half of the last one."""
        return 0.5 / 10 ** digits(self.printed) / self.scale


def digits(text: str) -> int:
    """How many stand behind the point."""
    return len(text.partition(".")[2])


def fits(text: str, value: float) -> bool:
    """Whether a number is the printed one, rounded or cut off: the paper does both."""
    unit = 10 ** digits(text)
    return round(float(text) * unit) in (round(value * unit), floor(value * unit))


@cache
def read_table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of a table, `table1` to `table7`, by column."""
    text = resources.files("medmamba.paper").joinpath("tables", f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def values(name: str) -> tuple[Value, ...]:
    """Every cell of a table of results, `table3` to `table7`."""
    return tuple(
        Value(name, row["data"], row["model"], row["printed"], metric, text)
        for row in read_table(name)
        for metric, text in row.items()
        if metric not in ("data", "printed", "model")
    )


def data_sets(name: str) -> tuple[str, ...]:
    """Names in the catalogue, in the table's order."""
    return tuple(dict.fromkeys(row["data"] for row in read_table(name)))


def models(name: str) -> tuple[str, ...]:
    """Keys in `paper.networks`, in the table's order."""
    return tuple(dict.fromkeys(row["model"] for row in read_table(name)))
