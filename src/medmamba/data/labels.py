"""Class names: what they may hold, and which are too much alike to be two classes."""

from __future__ import annotations

from collections.abc import Iterable

from medmamba.errors import InputError
from medmamba.text import counted, has_control


def check_class_names(names: Iterable[str], owner: str) -> None:
    """Raise `InputError` if a name holds control characters: it would be printed in terminals, cards and tables."""
    if unfit := sorted({name for name in names if has_control(name)}):
        count = "a class name" if len(unfit) == 1 else f"{len(unfit)} class names"
        raise InputError(f"{owner} has {count} with control characters, as {unfit[0]!r}; rename it")


def check_alike(names: Iterable[str], owner: str) -> None:
    """Raise `InputError` if two names differ only in capitals or blanks: they are hardly meant as two classes."""
    alike: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        alike.setdefault("".join(name.split()).casefold(), []).append(name)
    if pairs := [group for group in alike.values() if len(group) > 1]:
        shown = "; ".join(" and ".join(map(repr, group)) for group in pairs[:5])
        raise InputError(f"{owner} has labels that differ only in capitals or blanks: {shown}; write each in one way")


def check_file_names(names: Iterable[str], owner: str) -> None:
    """Raise `InputError` if the name of a file is no Unicode text, so that no table could hold it."""
    broken = [name for name in names if not name.isascii() and any("\ud800" <= mark <= "\udfff" for mark in name)]
    if broken:
        raise InputError(
            f"{owner} has {counted(len(broken), 'file')} with names that are no Unicode text, as {broken[0]!r}; rename"
        )
