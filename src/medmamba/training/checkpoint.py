"""`resume.ckpt`: all that a run needs to go on from its last finished epoch as if nothing had happened.

No state of a random generator is in it, because no draw depends on one; see `medmamba.training.seeds`. The file is for
the machine that wrote it and is read with `weights_only=True`; a model is given away as a bundle, without it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medmamba.bundle import write_atomically
from medmamba.errors import InputError

RESUME = "resume.ckpt"
_FORMAT = 1


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write `resume.ckpt` whole; `state` holds tensors and plain Python values only."""
    content = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, content)
    write_atomically(folder / RESUME, content.getvalue())


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote.

    Raises:
        InputError: There is no such file, it is damaged, or another version wrote it.
    """
    path = folder / RESUME
    if not path.is_file():
        raise InputError(f"{folder} cannot be resumed: it holds no {RESUME}; give the folder of an unfinished run")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as reason:  # torch raises many kinds for a damaged file
        first = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
        raise InputError(f"{path} is damaged ({first}); start the run again in a new folder") from None
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise InputError(f"{path} was written by another version of medmamba; start the run again in a new folder")
    return state


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What is not the same in two nested mappings, in words: `seed was 0 and is 1`."""
    words: list[str] = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            words += differences(old, new, f"{prefix}{name}.")
        elif _plain(old) != _plain(new):
            words.append(f"{prefix}{name} was {old!r} and is {new!r}")
    return words


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `InputError` naming every difference between the run in a folder and what is asked for now."""
    if words := differences(before, now):
        raise InputError(
            f"{folder} cannot be resumed with other options or data: {'; '.join(words)}; "
            "give the same as before, or another folder for a new run"
        )
