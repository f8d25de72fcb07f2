"""What may end a run from outside, each told in one sentence with what to do; for memory see `limits`."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from medmamba.errors import FailedError, InputError, one_line
from medmamba.training.config import TrainConfig, TrainingError

logger = logging.getLogger(__name__)

# What torch says where a GPU does not answer any more, or one of its libraries finds that out first
_GPU = re.compile(r"CUDA error|CUDA driver error|CUDNN_STATUS|CUBLAS_STATUS|NCCL error|HIP error")
_WORKER = re.compile(r"DataLoader worker \(pid")
_SHARED = re.compile(r"[Bb]us error|shared memory")
_TERMINATED = re.compile(r"killed by signal: Terminated")
_FROM_WORKER = re.compile(r"^[\w.]*InputError: ")  # before the message, where a worker process raised it


@contextmanager
def failures_explained(config: TrainConfig) -> Iterator[None]:
    """Inside the block, in which a run trains, what came from outside is a `TrainingError` of one sentence."""
    try:
        with _broken_connections_quiet():
            yield
    except InputError as reason:  # the images were all read once before
        last = _FROM_WORKER.sub("", str(reason).strip().splitlines()[-1])
        raise TrainingError(f"an image could be read before and now could not: {last}") from reason
    except RuntimeError as reason:
        if isinstance(reason, FailedError):
            raise
        if _GPU.search(str(reason)):
            raise TrainingError(f"the GPU failed ({one_line(reason)}): look whether it still answers") from reason
        if _WORKER.search(str(reason)):
            raise TrainingError(_worker_killed(config.workers, str(reason))) from reason
        raise


@contextmanager
def _broken_connections_quiet() -> Iterator[None]:
    """A thread of multiprocessing prints a traceback where its other end was killed, which the run tells anyway."""
    before = sys.excepthook

    def hook(kind: type[BaseException], reason: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, (ConnectionError, EOFError)):
            logger.debug("a connection to another process broke", exc_info=reason)
        else:
            before(kind, reason, trace)

    sys.excepthook = hook
    try:
        yield
    finally:
        sys.excepthook = before


def told_to_end(reason: BaseException, sigterm: bool) -> bool:
    """Whether an error is a process that reads images and got the SIGTERM that was sent to the whole job.

    Of some such processes torch says by what they ended, of others only that they did: then it is taken for that if
    this process got one (`sigterm`).
    """
    return bool(_WORKER.search(str(reason))) and (sigterm or bool(_TERMINATED.search(str(reason))))


def _worker_killed(workers: int, reason: str) -> str:
    fewer = f"resume with fewer workers than {workers}, or 0"
    if _SHARED.search(reason):
        return f"a process that reads images ran out of shared memory: raise its limit (docker: --shm-size), or {fewer}"
    return f"a process that reads images was killed, mostly because the machine has no memory left: {fewer}"


@contextmanager
def writing_explained(folder: Path, what: str) -> Iterator[None]:
    """Inside the block, a file that cannot be written to the folder of a run is a `TrainingError`."""
    try:
        yield
    except TrainingError:
        raise
    except (OSError, FailedError, InputError) as reason:
        said = reason.__cause__ if isinstance(reason, FailedError) else reason  # the system's own words, if there are
        words = (said.strerror if isinstance(said, OSError) else None) or str(reason) or type(reason).__name__
        raise TrainingError(f"{what} could not be written to {folder} ({words}): make room, or make it writable") from (
            reason
        )
