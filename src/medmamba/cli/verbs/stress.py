"""Verbs that put a trained model under stress."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from medmamba.cli.console import print_table, progress_bar

WORST = 10  # cells that the terminal shows


@dataclass(frozen=True)
class Robustness:
    """Score a trained model on corrupted images: figures with 95 % intervals for each kind and severity, and curves."""

    model: Positional[Path]
    """Folder of the trained model, or a .onnx file that export wrote."""
    data: Positional[str]
    """As for evaluate."""
    split: str = "test"
    """Which images: train, val, test, or all."""
    out: Path | None = None
    """Folder for the results; by default robustness-SPLIT in the model's folder, robustness-NAME-SPLIT beside a
    file."""
    corruptions: tuple[str, ...] = ("paper",)
    """paper for the kinds of its figure 7, medmnist-c, all, or names; see docs/how-to/robustness.md."""
    baseline: Path | None = None
    """A trained model of the same classes, against which BE and rBE are computed."""
    limit: int | None = None
    """Score no more images than this, each class in proportion."""
    group_column: str | None = None
    """Column of the table that names the patient, as in training."""
    label_columns: tuple[str, ...] = ()
    """Columns of 0 and 1 in the table, as in training."""
    allow: tuple[str, ...] = ()
    """Faults of the data to go on in spite of, by name; see docs/how-to/check.md."""
    batch_size: int = 64
    """Images at once; changes speed and memory, not the figures."""
    resamples: int = 2000
    """Bootstrap draws of the intervals; 0 for none."""
    seed: int = 0
    """Of the corruptions and of the bootstrap."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    json: bool = False
    """Print robustness.json instead of tables."""

    def run(self) -> int:
        from medmamba.predictor import load
        from medmamba.robustness import sweep

        classifier = load(self.model, device=self.device)
        by_default = (
            self.model / f"robustness-{self.split}"
            if self.model.is_dir()
            else self.model.with_name(f"robustness-{self.model.stem}-{self.split}")
        )
        out = self.out or by_default
        with progress_bar("scoring") as progress:
            report = sweep(
                classifier,
                self.data,
                self.split,
                out=out,
                corruptions=self.corruptions,
                baseline=None if self.baseline is None else load(self.baseline, device=self.device),
                limit=self.limit,
                group_column=self.group_column,
                label_columns=self.label_columns,
                allow=self.allow,
                batch_size=self.batch_size,
                resamples=self.resamples,
                seed=self.seed,
                progress=progress,
            )
        if self.json:
            print(json.dumps(report, indent=2, ensure_ascii=False))
        else:
            _print_tables(report)
            print(f"\n{out}")
        return 0


def _print_tables(report: dict[str, Any]) -> None:
    """The clean figures, each corruption over its severities, and the worst cells."""
    from medmamba.metrics import in_words

    data, clean = report["data"], report["clean"]
    print(f"{data['name']}, split {data['split']}: {report['n']} of {data['images']} images")
    figures = ("accuracy", "auc", "balanced_error", "flip_rate", "ece")
    titles = tuple(figure.replace("_", " ") for figure in figures)
    rows = [("worst cells", "severity", *titles), ("clean", "0", *(in_words(clean[figure]) for figure in figures))]
    for row in report["cells"][:WORST]:
        rows.append((row["corruption"], str(row["severity"]), *(in_words(row[figure]) for figure in figures)))
    print_table(rows)
    print()
    ratios = () if report["baseline"] is None else ("be", "rbe")
    rows = [("over all severities", "balanced error", *({"be": "BE", "rbe": "rBE"}[ratio] for ratio in ratios))]
    for row in report["corruptions"]:
        if row["applies"]:
            rows.append((row["name"], in_words(row["balanced_error"]), *(in_words(row[ratio]) for ratio in ratios)))
    if report["baseline"] is not None:
        rows.append(("mean", "", *(in_words(report["baseline"][ratio]) for ratio in ratios)))
    print_table(rows)
    for note in report["notes"]:
        print(note)
