"""The verb that tells others what a trained model is worth."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from medmamba.cli.console import print_headline, progress_bar


@dataclass(frozen=True)
class Report:
    """Write one page about a trained model on a data set: verdict, figures, curves, hardest cases, limits."""

    model: Positional[Path]
    """Folder of the trained model, or a .onnx file that export wrote."""
    data: Positional[str]
    """As for evaluate."""
    split: str = "test"
    """Which images: train, val, test, or all."""
    out: Path | None = None
    """Folder for the results; by default report-SPLIT in the model's folder, report-NAME-SPLIT beside a file."""
    robustness: Path | None = None
    """Folder that robustness wrote; by default its own in the model's folder, if there is one."""
    group_column: str | None = None
    """Column of the table that names the patient, as in training."""
    label_columns: tuple[str, ...] = ()
    """Columns of 0 and 1 in the table, as in training."""
    allow: tuple[str, ...] = ()
    """Faults of the data to go on in spite of, by name; see docs/how-to/check.md."""
    by: tuple[str, ...] = ()
    """Columns of the table by whose values the figures are given once more: site, device, sex, ..."""
    batch_size: int = 64
    """Images at once; changes speed and memory, not the figures."""
    resamples: int = 2000
    """Bootstrap draws; 0 leaves out the intervals that need them."""
    seed: int = 0
    """Of the bootstrap."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    json: bool = False
    """Print metrics.json instead of a table."""

    def run(self) -> int:
        from medmamba.predictor import load
        from medmamba.report import write_report

        classifier = load(self.model, device=self.device)
        beside = self._beside("robustness")
        robustness = self.robustness or (beside if (beside / "robustness.json").is_file() else None)
        out = self.out or self._beside("report")
        with progress_bar("evaluating") as progress:
            report = write_report(
                classifier,
                self.data,
                self.split,
                out=out,
                robustness=robustness,
                command=" ".join(["medmamba", *sys.argv[1:]]),
                group_column=self.group_column,
                label_columns=self.label_columns,
                allow=self.allow,
                by=self.by,
                batch_size=self.batch_size,
                resamples=self.resamples,
                seed=self.seed,
                progress=progress,
            )
        if self.json:
            print(json.dumps(report, indent=2, ensure_ascii=False))
        else:
            print_headline(report)
            print(f"\n{out / 'report.html'}")
        return 0

    def _beside(self, what: str) -> Path:
        """The folder of a verb's results in the model's folder, or beside its file."""
        if self.model.is_dir():
            return self.model / f"{what}-{self.split}"
        return self.model.with_name(f"{what}-{self.model.stem}-{self.split}")
