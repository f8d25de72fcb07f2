"""The folder of a run: free to be taken, taken, and with its log."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path

from medmamba.bundle import BACKBONE, CARD, DESCRIPTION, WEIGHTS
from medmamba.errors import InputError
from medmamba.training.checkpoint import RESUME, has_checkpoint

LOG = "log.txt"
SPLIT_TABLE = "splits.csv"
_WRITTEN = (BACKBONE, CARD, DESCRIPTION, WEIGHTS, RESUME, SPLIT_TABLE, "history.csv", "curves.png")
# as `write_atomically` calls a file that is being written
_LEFTOVER = re.compile(rf"\.({'|'.join(map(re.escape, _WRITTEN))})(\.new)?\.[a-z0-9_]{{8}}")


def check_free(folder: Path) -> None:
    """Raise `InputError` unless a new run may be written into a folder, which need not exist yet."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the run")
    if folder.is_dir() and any(folder.iterdir()):
        run = (folder / DESCRIPTION).exists() or has_checkpoint(folder) or is_only_begun(folder)
        what = "holds a run already" if run else "is not empty"
        raise InputError(f"{folder} {what}; give another folder, or resume to go on with an unfinished run")


def is_only_begun(folder: Path) -> bool:
    """Whether a folder holds a run that was killed before its first step: nothing but what is written until then."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return LOG in names and all(name in (LOG, SPLIT_TABLE) or _LEFTOVER.fullmatch(name) for name in names)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a run that was killed while it wrote."""
    for path in folder.iterdir():
        if _LEFTOVER.fullmatch(path.name):
            path.unlink()


class LogFile(logging.FileHandler):
    """A log that does not end a run on a full disk: it counts what it could not take.

    Attributes:
        lost: Lines.
    """

    lost = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, logging calls it so
        if isinstance(sys.exception(), OSError):
            self.lost += 1
        else:
            super().handleError(record)

    def close(self) -> None:
        try:
            super().close()
        except OSError:  # what waited in its buffer has been counted
            self.lost = max(1, self.lost)


class RunLog:
    """The package's log from INFO on, kept in memory until the run has a folder, then in its `log.txt`."""

    def __init__(self) -> None:
        self.handler = MemoryHandler(capacity=1_000_000, flushLevel=logging.CRITICAL + 1)

    def write_to(self, folder: Path) -> None:
        """Make the folder if needed and append the log there from now on, with what was logged before.

        Asked again, it goes on as it did.

        Raises:
            InputError: The folder cannot be made or written to.
        """
        if self.handler.target is not None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = LogFile(folder / LOG, encoding="utf-8")
        except OSError as reason:
            raise InputError(f"nothing can be written to {folder} ({reason.strerror}); give another folder") from None
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self.handler.setTarget(file)
        self.handler.flush()
        self.handler.capacity = 1  # from now on each line is written at once


@contextmanager
def run_log() -> Iterator[RunLog]:
    """Collect the package's log inside the block."""
    package, log = logging.getLogger("medmamba"), RunLog()
    level = package.level
    package.addHandler(log.handler)
    if package.getEffectiveLevel() > logging.INFO:
        package.setLevel(logging.INFO)
    try:
        yield log
    finally:
        package.setLevel(level)
        package.removeHandler(log.handler)
        target = log.handler.target
        log.handler.close()
        if target is not None:
            target.close()
        if isinstance(target, LogFile) and target.lost:
            package.warning("%s lacks %d lines: the disk had no room for them", LOG, target.lost)
