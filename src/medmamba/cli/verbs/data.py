"""Verbs that look after data before anyone trains on it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Prepare:
    """Turn a publisher's download into a table that train takes; counts are compared with the publisher's. Exit code 1
    if rows had to be left out."""

    name: Positional[str]
    """Of the data set, as info --data lists it: pad-ufes-20, cpn-x-ray, fetal-planes-db, kvasir or a MedMNIST set."""
    download: Positional[Path]
    """Folder of the unpacked download, with the archives in it unpacked too; or a MedMNIST .npz."""
    out: Path
    """The table to write, a .csv that is not there yet."""

    def run(self) -> int:
        from medmamba.data.prepare import prepare

        made = prepare(self.name, self.download, out=self.out)
        for note in made.notes:
            print(note, file=sys.stderr)
        if made.table is not None:
            print(f"{made.images} images", file=sys.stderr)
            print(made.table)
        return 0 if made.complete else 1
