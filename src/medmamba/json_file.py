"""JSON that others may have written: read with limits, and written so that any reader takes it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from medmamba.errors import InputError
from medmamba.writing import write_atomically

LARGEST = 8 * 1024**2  # bytes; the description of ten models of a thousand classes is a tenth of it
MOST_VALUES = 300_000  # each takes some eighty bytes of memory, however short it is in the file


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: It is missing, is no JSON in UTF-8, is too large or too deep, names a thing twice, or holds a number
            or text that cannot be written again.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        return parse_json(content)
    except OSError as reason:
        raise InputError(f"{path} cannot be read ({reason.strerror}); check that it is there") from None
    except InputError as reason:
        raise InputError(f"{path} cannot be used: {reason}") from None


def holds_entries(path: str | os.PathLike[str], names: Collection[str]) -> bool:
    """Whether a file is a JSON object with entries of these names, among others."""
    try:
        entries = read_json(path)
    except InputError:
        return False
    return isinstance(entries, dict) and entries.keys() >= set(names)


def parse_json(content: bytes) -> Any:
    """As `read_json`, of bytes; the message is the end of a sentence about them."""
    if len(content) > LARGEST:
        raise InputError(f"it is larger than {LARGEST // 1024**2} MB; it was not written by medmamba")
    if content.count(b",") + content.count(b"[") + content.count(b"{") > MOST_VALUES:
        raise InputError(f"it holds more than {MOST_VALUES} values; it was not written by medmamba")
    try:
        entries = json.loads(
            content.decode(), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite
        )
        json.dumps(entries, ensure_ascii=False).encode()  # a half character, which no text file can hold
        return entries
    except InputError:
        raise
    except RecursionError:
        raise InputError("its lists or objects are too deep; copy the file again") from None
    except ValueError as reason:
        raise InputError(f"it is no JSON ({reason}); copy the file again") from None


def write_json(path: str | os.PathLike[str], entries: Any) -> None:
    """Write JSON that any reader takes (no NaN), replacing the file whole."""
    text = json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    write_atomically(path, (text + "\n").encode())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InputError(f"it names {twice!r} twice, and readers differ in which they take; copy the file again")
    return entries


def _no_constant(name: str) -> Any:
    raise InputError(f"it holds {name}, which is no number of JSON; copy the file again")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InputError(f"it holds the number {text[:40]}, which is too large; copy the file again")
    return number
