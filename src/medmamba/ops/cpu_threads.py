"""Python functions on several threads at once, for kernels that release the interpreter's lock.

On Linux they are the threads of torch's own OpenMP. When an operator of torch has ended, these wait busily for the
next one, for some milliseconds and on all cores; other threads would have to share the cores with them. Where torch has
no GNU OpenMP, and in a forked child, in which OpenMP's threads are gone and waiting for them would never end, a pool of
our own does the work; unlike numba's layers it survives a fork and concurrent callers.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

_imported_by = os.getpid()


def run(work: Callable[[], None], threads: int) -> None:
    """Call a function on so many threads, about, at the same time, and wait for all.

    The function takes what is to be done from where the others take it too, since fewer threads than were asked for
    may come.

    Raises:
        BaseException: What the first failing call raised.
    """
    errors: list[BaseException] = []

    def guarded(*_: object) -> None:
        try:
            work()
        except BaseException as reason:
            errors.append(reason)

    openmp = _openmp() if threads > 1 and os.getpid() == _imported_by else None
    if threads == 1:
        guarded()
    elif openmp is not None:
        openmp(_Callback(guarded), None, threads, 0)
    else:
        waiting = [_pool(os.getpid()).submit(guarded) for _ in range(threads - 1)]
        guarded()
        for future in waiting:
            future.result()
    if errors:
        raise errors[0]


_Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _openmp() -> Callable[..., Any] | None:
    """`GOMP_parallel` of the library that torch has loaded (GNU libgomp's interface), or None."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return None
    names = [str(path) for path in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*")]
    for name in [*names, "libgomp.so.1"]:
        try:
            function = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW).GOMP_parallel
        except (OSError, AttributeError):
            continue
        function.argtypes = (_Callback, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        function.restype = None
        return function
    return None


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process; a forked child has another number and so makes its own."""
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="medmamba-scan")
