"""On what a benchmark ran, in words that name no machine."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import medmamba

PACKAGES = ("torch", "triton", "timm", "numba")


def card(device: torch.device) -> str:
    """The kind of device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str | None]:
    """Of what decides a time; None for what is not there."""
    cudnn = torch.backends.cudnn.version() if torch.version.cuda else None
    return {
        "medmamba": medmamba.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
    }


def source() -> dict[str, Any]:
    """`commit` of the package's source and whether it was `changed` since; None where no git work tree has it."""
    folder = Path(medmamba.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:  # lies in somebody else's work tree, or none
        return {"commit": None, "changed": None}
    changes = _git(folder, "status", "--porcelain", "--", ".")
    return {"commit": _git(folder, "rev-parse", "HEAD"), "changed": None if changes is None else bool(changes)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git answers, or None if it is not there or refuses."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
