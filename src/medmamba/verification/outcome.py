"""A check and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from medmamba.errors import InputError, one_line

Looked = TypeVar("Looked")


class Outcome(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    IMPOSSIBLE = "not possible"


@dataclass(frozen=True)
class Check:
    """One promise, looked at.

    Attributes:
        name: Of the check.
        outcome: What came of it.
        words: What was found, or why it is not possible.
    """

    name: str
    outcome: Outcome
    words: str


class ImpossibleError(Exception):
    """A check cannot be made; the message says why."""


@dataclass(frozen=True)
class Row(Generic[Looked]):
    """A check as a row of a table.

    Attributes:
        name: Of the check.
        look: Gives the words for what was found in order; InputError where it is not, ImpossibleError where nothing
            can be said.
        needs: Checks that must have passed before.
    """

    name: str
    look: Callable[[Looked], str]
    needs: tuple[str, ...] = ()


# what a foreign or damaged file makes the code that reads it raise
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, RuntimeError)


def make(rows: Sequence[Row[Looked]], what: Looked) -> list[Check]:
    """Make the checks of a table, in its order."""
    checks: dict[str, Check] = {}
    for row in rows:
        checks[row.name] = Check(row.name, *_look(row, what, checks))
    return list(checks.values())


def _look(row: Row[Looked], what: Looked, before: dict[str, Check]) -> tuple[Outcome, str]:
    lacking = [name for name in row.needs if name in before and before[name].outcome is not Outcome.PASSED]
    if lacking:
        return Outcome.IMPOSSIBLE, f"it needs what did not pass: {', '.join(lacking)}"
    try:
        return Outcome.PASSED, row.look(what)
    except ImpossibleError as reason:
        return Outcome.IMPOSSIBLE, str(reason)
    except InputError as reason:
        return Outcome.FAILED, str(reason)
    except _DAMAGE as reason:
        return Outcome.FAILED, f"it cannot be read ({one_line(reason)})"
