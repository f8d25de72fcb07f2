"""`resume`: go on with the run in a folder, whatever made it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medmamba.data.dataset import Dataset
from medmamba.errors import InputError
from medmamba.training.checkpoint import load_checkpoint
from medmamba.training.plan import Request
from medmamba.training.pretraining import pretrain
from medmamba.training.run import fit


def resume(folder: str | os.PathLike[str], *, data: Dataset | Sequence[Dataset] | None = None, **options: Any) -> Path:
    """Go on with what `fit` or `pretrain` began, with the data and options that it was started with.

    Args:
        folder: Of the run.
        data: The data, if it was given as a `Dataset` (or several) and not by name or path.
        options: `workers`, `progress`, `save_seconds`, `accumulate`, `halve`, `checkpointing` and `compile` may be
            given anew; others only if they are what they were.

    Returns:
        The folder.

    Raises:
        InputError: The folder holds no run to resume, or options or data are not those of the run.
        TrainingError: The run had to stop, as for `fit`.
    """
    request = Request.from_dict(load_checkpoint(Path(folder))["request"])
    given = request.data if data is None else data
    if given is None:
        raise InputError(f"the run in {folder} was given an opened data set (or several); give it again as data=")
    if not isinstance(given, str | Dataset):
        return pretrain(given, out=folder, config=request.config, resume=True, allow=request.allow, **options)
    return fit(
        given,
        out=folder,
        config=request.config,
        resume=True,
        task=request.task,
        positive=request.positive,
        group_column=request.group_column,
        label_columns=request.label_columns,
        allow=request.allow,
        **options,
    )
