"""Words for people: numbers of things, and names that others chose, for a terminal, a card or a spreadsheet."""

from __future__ import annotations

import re
import unicodedata

_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, line and paragraph separators
_DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # they turn the rest of a line round
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`: of a noun with a regular plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def has_control(text: str) -> bool:
    """Whether a terminal would obey a character of the text instead of showing it."""
    return not text.isprintable() and any(map(_is_control, text))


def printable(text: str) -> str:
    """The text with control characters written as escapes (`\\x1b`); line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        mark.encode("unicode_escape").decode() if _is_control(mark) and mark not in "\n\t" else mark for mark in text
    )


def _is_control(mark: str) -> bool:
    return unicodedata.category(mark) in _CATEGORIES or unicodedata.bidirectional(mark) in _DIRECTIONS


def spreadsheet_cell(text: str) -> str:
    """The text as a spreadsheet takes it for text: with an apostrophe before what would be computed as a formula.

    Numbers stay as they are, so `-1` does too. Source: OWASP, "CSV Injection".
    """
    return f"'{text}" if text[:1] in _FORMULA and not _NUMBER.fullmatch(text) else text


def markdown_cell(text: str) -> str:
    """The text on one line, with what would break a Markdown table or become markup escaped."""
    for mark in "\\|<>[]`*":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
