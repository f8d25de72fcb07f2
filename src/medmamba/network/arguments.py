"""Whether the numbers that a network is made of are possible: torch takes some that fail in the first step or never."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

from medmamba.errors import InputError, shown

MOST = 2**20  # of channels, blocks or classes: no memory holds a network with more


def check_rates(**rates: Any) -> None:
    """Raise `InputError` unless each is a number in [0, 1): of a branch that is always dropped nothing is learnt."""
    for name, rate in rates.items():
        if not (_is_number(rate) and 0 <= rate < 1):
            raise InputError(f"{name} {shown(rate)} is not possible; expected a number from 0 to below 1")


def check_sizes(*, least: int = 1, **sizes: Any) -> None:
    """Raise `InputError` unless each is a whole number, `least` or more."""
    for name, size in sizes.items():
        if not _is_size(size, least):
            raise InputError(f"{name} {shown(size)} is not possible; expected a whole number, {least} to {MOST}")


def check_lists(*, depth: int = 1, **lists: Any) -> None:
    """Raise `InputError` unless each is a tuple or list of whole numbers from 1; of such lists for a depth of 2."""
    for name, values in lists.items():
        if not _is_list(values, depth):
            kind = "a list of " + "lists of " * (depth - 1) + "whole numbers"
            raise InputError(f"{name} {shown(values)} is not possible; expected {kind}, 1 or more each, up to {MOST}")


def check_dropped(**shares: Any) -> None:
    """Raise `InputError` unless each is None, a number in [0, 1], or a tuple or list of such: timm takes all."""
    for name, value in shares.items():
        each = value if isinstance(value, tuple | list) else [value]
        if not all(share is None or (_is_number(share) and 0 <= share <= 1) for share in each):
            raise InputError(f"{name} {shown(value)} is not possible; expected a number from 0 to 1")


def _is_number(value: Any) -> bool:
    """Whether this is a finite number; truth values are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return isinstance(value, Integral) or math.isfinite(value)  # a whole number may be too large for a float


def _is_size(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) <= MOST


def _is_list(value: Any, depth: int) -> bool:
    if depth == 0:
        return _is_size(value, 1)
    return isinstance(value, tuple | list) and all(_is_list(each, depth - 1) for each in value)
