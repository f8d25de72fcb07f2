"""Verbs that see to data before a model is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Split:
    """Write the splits of a data set as a table that train takes again: by class, whole patients, from a seed."""

    data: Positional[str]
    """A folder of class folders or a table, as for train."""
    out: Path
    """The table to write, a new .csv; its paths are relative to its folder. Of folds NAME-fold1.csv and so on."""
    folds: int | None = None
    """Cut all images into so many folds, a table each: every image is in the test split of one of them."""
    seed: int = 0
    """Decides who goes where."""
    task: str | None = None
    """binary, multi-class, multi-label or ordinal, where the data does not tell."""
    group_column: str | None = None
    """Column of the table that names the patient, if it is not called patient or group."""
    label_columns: tuple[str, ...] = ()
    """Columns of 0 and 1 in the table, one for each label of a multi-label task."""
    allow: tuple[str, ...] = ()
    """Faults of the data to go on in spite of, by name; see docs/how-to/check.md."""

    def run(self) -> int:
        from medmamba.data.folds import write_tables
        from medmamba.data.opening import open_data

        data = open_data(
            self.data,
            task=self.task,
            group_column=self.group_column,
            label_columns=self.label_columns,
            seed=self.seed,
            allow=self.allow,
        )
        for path in write_tables(data, self.out, folds=self.folds, seed=self.seed):
            print(path)
        return 0
