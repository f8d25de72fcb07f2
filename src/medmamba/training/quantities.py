"""Which numbers the settings of a training run may be. Imports nothing heavy: the command line is built on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from medmamba.errors import InputError, shown

MOST = 10**9  # of whatever is counted: no run has as many


@dataclass(frozen=True)
class Range:
    """The numbers from one to another, both allowed and finite; truth values are none.

    Attributes:
        low: The lowest.
        high: The highest.
        whole: Whether only whole numbers are.
        optional: Whether None is allowed too.
    """

    low: float
    high: float
    whole: bool = False
    optional: bool = False

    def __contains__(self, value: Any) -> bool:
        if value is None:
            return self.optional
        kind = Integral if self.whole else Real  # those of NumPy too
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        return is_number and bool(self.low <= value <= self.high)

    def check(self, name: str, value: Any) -> None:
        """Raise `InputError` unless the value of a setting is in the range."""
        if value not in self:
            wanted = f"a number from {self.low:g} to {self.high:g}"
            if self.whole:
                wanted = f"a whole number from {int(self.low):,} to {int(self.high):,}"
            raise InputError(f"{name} {shown(value)} is not possible; expected {wanted}")


SETTINGS: Mapping[str, Range] = {  # of a recipe
    "lr": Range(1e-12, 1e6),
    "weight_decay": Range(0, 1e6),
    "epochs": Range(1, MOST, whole=True),
    "batch_size": Range(2, MOST, whole=True),  # a batch of one has no spread for batch normalisation
    "gamma": Range(0, 1),
    "warmup_epochs": Range(0, MOST),
    "patience": Range(1, MOST, whole=True, optional=True),
    "choose_from": Range(0, 0.999),
    "label_smoothing": Range(0, 0.999),
    "ema": Range(0, 0.999999, optional=True),
    "drop_path_rate": Range(0, 0.999, optional=True),
    "mixup": Range(0, 10),
}


def are_numbers(values: Any) -> bool:
    """Whether these are a tuple or list of finite numbers from 0 to 1."""
    return isinstance(values, tuple | list) and all(value in Range(0, 1) for value in values)
