"""The verb that makes the paper's tables again."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from medmamba.text import printable


@dataclass(frozen=True)
class Reproduce:
    """Make a table of the paper again, ours beside what it prints; runs that are missing are trained first."""

    what: Positional[str]
    """table1 (architecture), table2 (data sets), table3 to table6 (results), table7 (ablations)."""
    data: Path | None = None
    """Folder with the data sets, for table3 to table7; by default the one that MEDMAMBA_DATA names."""
    out: Path = Path("reproduction")
    """Folder for the results; runs that are there are not made again."""
    models: tuple[str, ...] = ()
    """Only these, by registry name; all of the table by default."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of each model and data set for each."""
    device: str = "auto"
    """auto for every GPU, cpu, cuda, cuda:1 or mps."""
    no_run: bool = False
    """Train nothing: take the runs that are there."""

    def run(self) -> int:
        from medmamba.paper.reproduce import reproduce
        from medmamba.paper.sheet import markdown

        before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that runs at work are ended
        try:
            sheet = reproduce(
                self.what,
                data=self.data,
                out=self.out,
                models=self.models,
                seeds=self.seeds,
                device=self.device,
                run=not self.no_run,
            )
        finally:
            signal.signal(signal.SIGTERM, before)
        print(printable(markdown(sheet)))
        print(self.out / f"{self.what}.html")
        return 0
