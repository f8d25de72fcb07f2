"""The verb that shows how models arrange images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from medmamba.cli.console import print_table, progress_bar
from medmamba.errors import InputError


@dataclass(frozen=True)
class Embed:
    """Show how models arrange images: one t-SNE picture of their features, and how well these separate the classes."""

    # one field, since tyro leaves no word for the data where an option follows
    models_and_data: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN... DATA")]
    """Folders of trained models of the same classes, one or several, and then data as for evaluate."""
    split: str = "test"
    """Which images: train, val, test, or all."""
    out: Path | None = None
    """Folder for embedding.png, embedding.json and a .npz of features for each model; by default embedding-SPLIT in the
    model's folder, with several models embedding-SPLIT-NAMES in that of the first."""
    limit: int = 2000
    """Images at most, chosen by the seed so that each class keeps its share; 0 for all."""
    group_column: str | None = None
    """Column of the table that names the patient, as in training."""
    label_columns: tuple[str, ...] = ()
    """Columns of 0 and 1 in the table, as in training."""
    allow: tuple[str, ...] = ()
    """Faults of the data to go on in spite of, by name; see docs/how-to/check.md."""
    batch_size: int = 64
    """Images at once; changes speed and memory, not the result."""
    seed: int = 0
    """Of the choice of images, t-SNE and the intervals."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    json: bool = False
    """Print embedding.json instead of a table."""

    def run(self) -> int:
        from medmamba.explain.embedding import embed
        from medmamba.metrics import in_words
        from medmamba.predictor import load

        *words, data = self.models_and_data or ("",)
        if not words:
            raise InputError("a model and data are needed; write: medmamba embed RUN... DATA")
        models = [Path(word) for word in words]
        names = tell_apart(models)
        classifiers = {name: load(model, device=self.device) for name, model in zip(names, models, strict=True)}
        folder = "-".join(["embedding", self.split, *(names if len(names) > 1 else ())])
        out = self.out or models[0] / folder
        with progress_bar("features") as progress:
            report = embed(
                classifiers,
                data,
                self.split,
                out=out,
                group_column=self.group_column,
                label_columns=self.label_columns,
                allow=self.allow,
                limit=self.limit,
                batch_size=self.batch_size,
                seed=self.seed,
                progress=progress,
            )
        if self.json:
            print(json.dumps(report, indent=2, ensure_ascii=False))
            return 0
        print(f"{report['data']['name']}, split {report['data']['split']}: {report['n']} images")
        rows = [("model", "features", "silhouette", "5-NN accuracy")]
        rows += [
            (row["name"], str(row["features"]), in_words(row["silhouette"]), in_words(row["neighbours"]))
            for row in report["models"]
        ]
        print_table(rows)
        print(f"majority baseline {report['majority_baseline']:.3f}")
        for note in report["notes"]:
            print(note)
        print(f"\n{out}")
        return 0


def tell_apart(models: Sequence[Path]) -> list[str]:
    """A name for each model that a file can have: its folder's, after those above it where several are called the same.

    Raises:
        InputError: A model is named twice.
    """
    paths = [path.resolve() for path in models]
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["-".join(path.parts[-parts:]).lstrip("/") for path in paths]
        if len(set(names)) == len(names):
            return names
    raise InputError(f"a model is named twice in {' '.join(map(str, models))}; name each once")
