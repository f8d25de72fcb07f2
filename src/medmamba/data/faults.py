"""Faults of data that stop a run unless they are allowed by name: its result would mean nothing, or tell too much."""

from __future__ import annotations

from collections.abc import Collection

from medmamba.errors import InputError, suggest

FAULTS = {
    "patient-overlap": "images of one patient are in more than one split",
    "empty-class": "a class has no image to learn from",
    "leaked-images": "more than one in twenty validation images is in the training split too",
    "related-data": "the model or its start may have seen what it is tested on, under another name or in other splits",
    "outside-folder": "a table names files outside its folder, which whoever made it may not be meant to see",
}


def check_allowed(names: Collection[str]) -> None:
    """Raise `InputError` if a name is not that of a fault."""
    for name in names:
        if name not in FAULTS:
            known = ", ".join(FAULTS)
            raise InputError(f"there is no fault {name!r} to allow{suggest(name, tuple(FAULTS))}; choose from {known}")


def settle_fault(name: str, sentence: str, allowed: Collection[str]) -> str:
    """What was found, for the record, if that fault is allowed.

    Args:
        name: One of `FAULTS`.
        sentence: What is wrong and where, and how to mend it.
        allowed: Names of the faults that are allowed.

    Returns:
        `NAME: SENTENCE`, to be told and kept with the result.

    Raises:
        InputError: The fault is not allowed; the message says how to allow it.
    """
    if name not in allowed:
        raise InputError(f"{sentence}; --allow {name} goes on in spite of it")
    return f"{name}: {sentence}"
