"""The folder of a run: free to be taken, taken, and with its log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path

from medmamba.bundle import DESCRIPTION
from medmamba.errors import InputError
from medmamba.training.checkpoint import RESUME

LOG = "log.txt"


def check_free(folder: Path) -> None:
    """Raise `InputError` unless a new run may be written into a folder, which need not exist yet."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the run")
    if folder.is_dir() and any(folder.iterdir()):
        run = (folder / DESCRIPTION).exists() or (folder / RESUME).exists()
        what = "holds a run already" if run else "is not empty"
        raise InputError(f"{folder} {what}; give another folder, or resume to go on with an unfinished run")


class RunLog:
    """The package's log from INFO on, kept in memory until the run has a folder, then in its `log.txt`."""

    def __init__(self) -> None:
        self.handler = MemoryHandler(capacity=1_000_000, flushLevel=logging.CRITICAL + 1)

    def write_to(self, folder: Path) -> None:
        """Make the folder if needed and write the log there from now on, with what was logged before.

        Raises:
            InputError: The folder cannot be made or written to.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = logging.FileHandler(folder / LOG, encoding="utf-8")
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
