"""What is to be beaten: means of the paper's printed numbers over the three small sets of MedMNIST."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medmamba.paper.plans import SEEDS
from medmamba.paper.printed import Value, values
from medmamba.paper.strong.entries import METRICS, NAMES, Entry, number, seed_words
from medmamba.paper.strong.found import RECIPE, SETS

TABLE = "table6"
MEDMAMBA = ("medmamba_tiny", "medmamba_small12", "medmamba_base16", "medmamba_tiny+autoaugment")
MEDVIT = ("medvit_tiny", "medvit_small", "medvit_large")
HEAD = ("in print", "figure", "there", "here", "mean above it", "95 % interval above it")


@dataclass(frozen=True)
class Mark:
    """A name, and the models of which the best value is taken in each cell."""

    name: str
    models: tuple[str, ...]

    def cell(self, data: str, metric: str) -> Value:
        """The best printed value of the models on one data set."""
        return max(
            (v for v in values(TABLE) if (v.data, v.metric) == (data, metric) and v.model in self.models),
            key=lambda v: v.value,
        )

    def mean(self, metric: str) -> float:
        """The plain mean over the three sets."""
        return sum(self.cell(data, metric).value for data in SETS) / len(SETS)

    def record(self, metric: str) -> dict[str, Any]:
        """For a machine."""
        cells = {data: self.cell(data, metric) for data in SETS}
        printed = {data: {"model": cell.printed_model, "printed": cell.printed} for data, cell in cells.items()}
        return {"kind": "printed", "mark": self.name, "metric": metric, "mean": self.mean(metric), "cells": printed}


MARKS = (
    Mark("MedMamba-T", ("medmamba_tiny",)),
    Mark("the best MedMamba of each cell", MEDMAMBA),
    Mark("the best MedViT of each cell", MEDVIT),
)


def rows(ours: Entry) -> Sequence[tuple[str, ...]]:
    """Each mark and figure, and whether ours is above it."""
    found = []
    for mark in MARKS:
        for metric in METRICS:
            there, here, above, surely = mark.mean(metric), "not run", "not run", "not run"
            if ours.figures:
                figure = ours.figures[metric]
                here = ours.words(metric)
                above = "yes" if figure.mean > there else "no"
                surely = "no interval" if figure.low is None else "yes" if figure.low > there else "no"
            found.append((mark.name, NAMES[metric], number(there), here, above, surely))
    return found


def sentences(ours: Entry, model: str) -> list[str]:
    """The same in plain words, a sentence a mark."""
    if not ours.figures:
        return [f"{model} has no runs with {RECIPE} on all three sets yet, so that no mark is reached."]
    fewer = "" if ours.seeds == SEEDS else f" (only {seed_words(ours.seeds)})"
    return [
        f"{model} with {RECIPE}{fewer} against {mark.name} in print, mean over the three sets: "
        f"{_verdict(ours, mark, 'accuracy')}; {_verdict(ours, mark, 'auc')}."
        for mark in MARKS
    ]


def _verdict(ours: Entry, mark: Mark, metric: str) -> str:
    figure, there = ours.figures[metric], mark.mean(metric)
    reached = "reached" if figure.mean > there else "not reached"
    words = f"{NAMES[metric]} {number(figure.mean)} against {number(there)}, {reached}"
    if figure.low is None or figure.high is None:
        return f"{words}, without an interval"
    place = "above it" if figure.low > there else "below it" if figure.high < there else "around it"
    return f"{words}, the 95 % interval {place}"


def printed_rows(metric: str) -> Sequence[tuple[str, ...]]:
    """The printed numbers as rows beside ours: the mean, then each data set."""
    return [
        (f"in print: {mark.name}", number(mark.mean(metric)), *(number(mark.cell(d, metric).value) for d in SETS))
        for mark in MARKS
    ]
