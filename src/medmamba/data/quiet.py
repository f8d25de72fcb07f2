"""Decoders keep their own warnings and log lines to themselves while we read, and only then.

What they say may repeat what is written in a file, and reaches a user without the file's name; what a user should know
is in our own errors and log. `warnings.catch_warnings` changes the filters of all threads, and several threads read at
once; so the filters here hold for a thread that is inside `quiet`, and for no other.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

# they write values of tags and tracebacks; a filter of a logger does not hold for those below it
LOGGERS = ("pydicom", "pydicom.pixels.decoders.base", "PIL.Image", "PIL.PngImagePlugin", "PIL.TiffImagePlugin")

_here = threading.local()


class _Here:
    """In the place of a pattern for texts: matches any text in a thread that is inside `quiet`, else none."""

    pattern = "(?!)"  # for who copies filters to other threads or processes, as joblib does: matches nothing there
    flags = 0

    def match(self, _: str) -> bool:
        return getattr(_here, "quiet", False)


_HERE = _Here()
_FILTER = ("ignore", _HERE, Warning, None, 0)  # as `warnings.filterwarnings` makes them


def _keep(_: logging.LogRecord) -> bool:
    return not getattr(_here, "quiet", False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what decoders warn about and log in this thread."""
    filters: list[object] = warnings.filters  # type: ignore[assignment]
    if not filters or filters[0] is not _FILTER:  # never there, or somebody has set filters since
        filters.insert(0, _FILTER)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_keep)  # once: a filter that is there already is not added again
    before = getattr(_here, "quiet", False)
    _here.quiet = True
    try:
        yield
    finally:
        _here.quiet = before
