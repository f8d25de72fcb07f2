"""The verb that makes the paper's tables and figures again."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from medmamba.cli.console import progress_bar
from medmamba.errors import InputError
from medmamba.text import printable


@dataclass(frozen=True)
class Reproduce:
    """Make a table or figure of the paper again; what is missing for it is trained first."""

    what: Positional[str]
    """table1 (architecture), table2 (data sets), table3 to table6 (results), table7 (ablations); figure3 (samples),
    figure4 (accuracy against cost), figure5 (heat maps), figure6 (t-SNE), figure7 (robustness)."""
    data: Path | None = None
    """Folder with the data sets, for all but table1 and table2; by default the one that MEDMAMBA_DATA names."""
    out: Path = Path("reproduction")
    """Folder for the results; runs that are there are not made again."""
    models: tuple[str, ...] = ()
    """Only these, by registry name; all of the table by default. Not for figures."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of each model and data set for each. Not for figures, which show seed 0."""
    device: str = "auto"
    """auto for every GPU, cpu, cuda, cuda:1 or mps."""
    no_run: bool = False
    """Train nothing: take the runs that are there."""

    def run(self) -> int:
        from medmamba.paper.reproduce import FIGURES

        before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that runs at work are ended
        try:
            return self._draw() if self.what in FIGURES else self._write()
        finally:
            signal.signal(signal.SIGTERM, before)

    def _write(self) -> int:
        from medmamba.paper.reproduce import reproduce
        from medmamba.paper.sheet import markdown

        sheet = reproduce(
            self.what,
            data=self.data,
            out=self.out,
            models=self.models,
            seeds=self.seeds,
            device=self.device,
            run=not self.no_run,
        )
        print(printable(markdown(sheet)))
        print(self.out / f"{self.what}.html")
        return 0

    def _draw(self) -> int:
        from medmamba.paper.reproduce import draw

        if self.models:
            raise InputError(f"{self.what} shows the models of the paper's; leave --models out")
        with progress_bar("drawing") as progress:
            picture = draw(
                self.what,
                data=self.data,
                out=self.out,
                device=self.device,
                run=not self.no_run,
                progress=lambda done, total, what: progress(done, total),
            )
        print(picture)
        return 0
