"""What the answers are taken from: a bundle, and what was measured of its model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from medmamba.bundle import Bundle
from medmamba.data.catalogue import CATALOGUE, Row
from medmamba.data.catalogue.collections import words


@dataclass(frozen=True)
class Record:
    """Everything that a run left behind; entries that were not recorded are empty.

    Attributes:
        bundle: Of the model.
        metrics: What `metrics.json` of an evaluation holds.
        robustness: What `robustness.json` holds.
        maps: The method of the heat maps in the report; empty without them.
    """

    bundle: Bundle
    metrics: Mapping[str, Any] = field(default_factory=dict)
    robustness: Mapping[str, Any] = field(default_factory=dict)
    maps: str = ""

    @property
    def origin(self) -> Mapping[str, Any]:
        """The provenance."""
        return self.bundle.provenance

    @property
    def data(self) -> Mapping[str, Any]:
        """What the provenance says of the data."""
        return self.origin.get("data") or {}

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe with every setting."""
        return self.origin.get("recipe") or {}

    @property
    def validation(self) -> Mapping[str, Any]:
        """Figures of the epoch that was kept, on the validation images."""
        return self.origin.get("validation") or {}

    @property
    def networks(self) -> list[Record]:
        """One record for each network of an ensemble, in their order, of its training alone."""
        bundle, origins = self.bundle, self.origin.get("members") or [{}] * len(self.bundle.members)
        return [
            Record(
                Bundle(each.model, bundle.task, bundle.classes, bundle.preprocessing, each.model_args, provenance=made)
            )
            for each, made in zip(bundle.members, origins, strict=True)
        ]

    @property
    def fitted(self) -> Mapping[str, Any]:
        """What `calibrate` chose, and on which images."""
        return self.bundle.decisions.fitted

    @property
    def row(self) -> Row | None:
        """The catalogue's row for a data set of the name that was trained on; the name alone tells."""
        return _row(str(self.data.get("name", "")))

    @property
    def evaluated(self) -> str | None:
        """Name of the data set that was evaluated."""
        return (self.metrics.get("data") or {}).get("name")

    @property
    def unit(self) -> str:
        """What the number of patients counts: `patient`, or `group` where the evaluated data say no more than that."""
        told = (self.metrics.get("data") or {}).get("unit")
        return "group" if told == "group" else "patient"

    @property
    def same_data(self) -> bool:
        """Whether training and evaluation name the same data set."""
        return self.evaluated is not None and self.evaluated == self.data.get("name")


def _row(name: str) -> Row | None:
    """`busi` for `busi` and for `busi256`: the row's name, and nothing but numbers after it."""
    told = words(name)
    for row in CATALOGUE.values():
        known = words(row.name)
        if told[: len(known)] == known and all(word.isdigit() for word in told[len(known) :]):
            return row
    return None


def figure(entry: Mapping[str, Any] | None) -> str:
    """A figure with its interval: `0.611 (0.306 to 0.861)`."""
    value, low, high = ((entry or {}).get(key) for key in ("value", "low", "high"))
    if value is None:
        return "cannot be computed"
    return f"{value:.3f}" + ("" if low is None or high is None else f" ({low:.3f} to {high:.3f})")


def plainly(names: Iterable[str]) -> list[str]:
    """Names as they stand in a list: those with a comma in them in quotes."""
    return [f"'{name}'" if "," in name else name for name in names]


def short(value: float | None) -> str:
    """A number with four digits; `unknown` for None."""
    return "unknown" if value is None else f"{value:.4g}"


def listed(entries: Mapping[str, Any]) -> str:
    """`name value, name value` of the entries that are not None."""
    return ", ".join(f"{name} {value}" for name, value in entries.items() if value is not None)
