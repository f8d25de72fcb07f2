"""Faults that are made inside a process: of the disk, of a folder, of memory, of a GPU, of a step.

Each of these is called in a fork before the command runs there.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000  # <sched.h>: CLONE_NEWNS, CLONE_NEWUSER
CAPABILITIES_3 = 0x20080522  # <linux/capability.h>
OVERRIDE = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root's leave to pass over the permissions of files
CAPGET, CAPSET = {"x86_64": (125, 126), "aarch64": (90, 91)}.get(os.uname().machine, (-1, -1))


# the disk


def own_disk(folder: Path, size: int) -> None:
    """From now on a folder is a file system of `size` bytes in memory, for this process and its children alone.

    Raises:
        OSError: Nothing can be mounted here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(NEW_MOUNTS | (NEW_USER if user else 0)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if user:  # root of a user name space of its own
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder))


def larger_disk(folder: Path, size: int) -> None:
    """Give the file system of `own_disk` another size."""
    _mount("-o", f"remount,size={size}", str(folder))


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"mount {' '.join(arguments)}: {done.stderr.strip()}")


def permissions_hold() -> None:
    """From now on the permissions of files hold for this process, also if it is root's."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("Ii", CAPABILITIES_3, 0))
    data = ctypes.create_string_buffer(24)
    if libc.syscall(CAPGET, header, data):
        raise OSError(ctypes.get_errno(), "capget")
    words = list(struct.unpack("6I", data.raw))
    words[:2] = [word & ~OVERRIDE for word in words[:2]]  # effective, permitted
    if libc.syscall(CAPSET, header, ctypes.create_string_buffer(struct.pack("6I", *words))):
        raise OSError(ctypes.get_errno(), "capset")


# a training step


def broken_step(act: Callable[[Any, Any, int], None]) -> None:
    """From now on `act(module, batch, number)` is called before each training step, which has a number from 1."""
    from medmamba.training.module import Trainee

    step = Trainee.training_step
    count = 0

    def broken(self: Trainee, batch: Any, index: int) -> Any:
        nonlocal count
        count += 1
        act(self, batch, count)
        return step(self, batch, index)

    Trainee.training_step = broken  # type: ignore[method-assign]


def nan_at(number: int) -> None:
    """All weights are NaN from a step on."""

    def act(module: Any, batch: Any, at: int) -> None:
        if at == number:
            for parameter in module.net.parameters():
                parameter.data.mul_(float("nan"))

    broken_step(act)


def lost_gpu_at(number: int) -> None:
    """A step fails as it does when a GPU has fallen off its bus."""

    def act(module: Any, batch: Any, at: int) -> None:
        if at == number:
            raise RuntimeError(
                "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported at some "
                "other API call, so the stacktrace below might be incorrect."
            )

    broken_step(act)


def memory_for(images: int) -> None:
    """A part of a batch with more images than these fails as it does where a GPU has no memory left."""
    import torch

    def act(module: Any, batch: Any, at: int) -> None:
        if len(batch[0]) > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    broken_step(act)
