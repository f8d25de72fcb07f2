"""The verb `verify`: which checks are made of what."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from medmamba.bundle import BACKBONE, DESCRIPTION
from medmamba.data.faults import check_allowed
from medmamba.errors import InputError
from medmamba.training.checkpoint import RESUME
from medmamba.verification import data_set, exported, folder
from medmamba.verification.outcome import Check, make


def verify(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
) -> list[Check]:
    """Look at each promise of a trained model, a backbone or an exported file. Nothing is written.

    Args:
        run: The folder that `train`, `pretrain`, `ensemble` or `import` wrote, or a `.onnx` or `.pt2` file of `export`.
        data: What it was trained on, of a backbone one of the data sets, to be compared with the record; None for no
            such comparison.
        group_column: The patient column of a table, as in training.
        label_columns: The label columns of a table, as in training.
        allow: Faults of the data that were allowed in training, by name.

    Returns:
        The checks, in order, those that are not possible among them.

    Raises:
        InputError: There is no such run, or it is none.
    """
    check_allowed(allow)
    place = Path(run)
    if place.is_file() and place.suffix.lower() in exported.SUFFIXES:
        if data is not None:
            raise InputError(
                "the data are compared with the record of a run, which an exported file does not keep whole; give the "
                "folder of the run"
            )
        return make(exported.CHECKS, exported.Exported(place))
    if not place.is_dir():
        raise InputError(f"there is no run {place}; give the folder that train wrote, or a .onnx or .pt2 file")
    if not any((place / name).is_file() for name in (DESCRIPTION, BACKBONE, RESUME)):
        raise InputError(f"{place} is no run: it holds no {DESCRIPTION}, {BACKBONE} or {RESUME}")
    looked = folder.Run(place)
    checks = make(folder.CHECKS, looked)
    if data is not None:
        told = data_set.Given(looked, os.fspath(data), group_column, tuple(label_columns), tuple(allow))
        checks += make(data_set.CHECKS, told)
    return checks
