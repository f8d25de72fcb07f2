"""Runs that are killed by a real SIGKILL at a chosen moment: in a copy of this process, which has torch already."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path


def in_a_copy(work: Callable[[], object]) -> int:
    """Do some work in a forked process; how that ended, as `waitpid` tells it: -9 for SIGKILL, 0 for its own end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside torch's threads, which are not used here
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at_rename(number: int) -> None:
    """From now on this process is killed before it renames a file for the so many-th time, from 1."""
    replace, count = os.replace, iter(range(1, 1000))

    def renamed(source: str | Path, target: str | Path) -> None:
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = renamed  # type: ignore[assignment]


def die_half_written(number: int) -> None:
    """From now on this process is killed when half of a file is on the disk, for the so many-th time, from 1."""
    sync, count = os.fsync, iter(range(1, 1000))

    def half(handle: int) -> None:
        if not os.path.isdir(f"/proc/self/fd/{handle}") and next(count) == number:
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = half  # type: ignore[assignment]


def count_writings(work: Callable[[], object]) -> tuple[list[str], int]:
    """The names of the files that some work renames others to, in order, and how many files it makes durable."""
    replace, sync = os.replace, os.fsync
    names: list[str] = []
    written = 0

    def renamed(source: str | Path, target: str | Path) -> None:
        names.append(Path(target).name)
        replace(source, target)

    def synced(handle: int) -> None:
        nonlocal written
        written += not os.path.isdir(f"/proc/self/fd/{handle}")
        sync(handle)

    os.replace, os.fsync = renamed, synced  # type: ignore[assignment]
    try:
        work()
    finally:
        os.replace, os.fsync = replace, sync
    return names, written
