"""Verbs that put a trained model to work."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from medmamba.cli.console import as_csv, as_json, is_answers, print_comparison, print_headline, progress_bar
from medmamba.errors import InputError
from medmamba.text import printable
from medmamba.writing import check_place, check_replaced, write_atomically


@dataclass(frozen=True)
class Evaluate:
    """Score a trained model on a data set: figures with 95 % intervals, a row an image, plots."""

    model: Positional[Path]
    """Folder of the trained model, or a .onnx file that export wrote."""
    data: Positional[str]
    """As for train; labels are matched by class name."""
    split: str = "test"
    """Which images: train, val, test, or all."""
    out: Path | None = None
    """Folder for the results; by default evaluation-SPLIT in the model's folder, evaluation-NAME-SPLIT beside a
    file."""
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
        from medmamba.evaluation import evaluate
        from medmamba.predictor import load

        classifier = load(self.model, device=self.device)
        by_default = (
            self.model / f"evaluation-{self.split}"
            if self.model.is_dir()
            else self.model.with_name(f"evaluation-{self.model.stem}-{self.split}")
        )
        out = self.out or by_default
        with progress_bar("evaluating") as progress:
            report = evaluate(
                classifier,
                self.data,
                self.split,
                out=out,
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
            print(f"\n{out}")
        return 0


@dataclass(frozen=True)
class Compare:
    """Compare two models on the same images: differences with 95 % intervals, and tests where there are some."""

    first: Positional[Path]
    """Folder of a trained model; or a folder of several, the runs of one model with several seeds."""
    second: Positional[Path]
    """What is compared with it, the same."""
    data: Positional[str]
    """As for evaluate."""
    split: str = "test"
    """Which images: train, val, test, or all."""
    out: Path | None = None
    """Write the comparison to this JSON file. One that is there is replaced only if compare wrote it."""
    group_column: str | None = None
    """Column of the table that names the patient, as in training."""
    label_columns: tuple[str, ...] = ()
    """Columns of 0 and 1 in the table, as in training."""
    allow: tuple[str, ...] = ()
    """Faults of the data to go on in spite of, by name; see docs/how-to/check.md."""
    batch_size: int = 64
    """Images at once; changes speed and memory, not the figures."""
    resamples: int = 2000
    """Bootstrap draws; 0 for none."""
    seed: int = 0
    """Of the bootstrap."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        from medmamba.evaluation import compare, find_models
        from medmamba.predictor import load

        first, second = (
            [load(path, device=self.device) for path in find_models(side)] for side in (self.first, self.second)
        )
        with progress_bar("comparing") as progress:
            report = compare(
                first,
                second,
                self.data,
                self.split,
                out=self.out,
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
            print_comparison(report)
        return 0


@dataclass(frozen=True)
class Predict:
    """Classify images: one row an image, in the order given, also for those that cannot be read (exit code 1).

    Without a model, as in "medmamba predict film.png", the model in the box answers, a demonstration for chest x-rays
    of children. That is so if the first argument is an image file, a .txt list or a pattern; a folder or a .onnx file
    in its place is the model, always.
    """

    model: Positional[str]
    """Folder of the trained model, or a .onnx file that export wrote; or the first image, for the model in the box."""
    images: Positional[tuple[str, ...]]
    """Files, folders (searched through), glob patterns, or .txt lists of paths."""
    out: Path | None = None
    """Write the CSV here instead of to standard output. A file that is there is replaced only if predict wrote it."""
    frame: str | None = None
    """Of files with several frames or pages: first, middle, a number from 1, or all for a row a frame and one of their
    mean; by default what the model was trained with."""
    max_pixels: int | None = None
    """Refuse files with more pixels in one frame; by default what the model was trained with."""
    batch_size: int = 32
    """Images at once; changes speed and memory, not the answers."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    json: bool = False
    """Write JSON instead of CSV, as to an --out that ends in .json."""

    def run(self) -> int:
        from medmamba.predictor import load

        model, images = model_and_images(self.model, self.images)
        if not images:
            raise InputError("no images were named; give files, folders or patterns after the model's folder")
        if self.out is not None:
            check_place(self.out)
            check_replaced(self.out, "predict", is_answers)
        classifier = load(model, device=self.device)
        with progress_bar("predicting") as progress:
            answers = classifier.predict(
                images,
                batch_size=self.batch_size,
                frame=self.frame,
                max_pixels=self.max_pixels,
                progress=progress,
            )
        wanted = self.json or (self.out is not None and self.out.suffix.lower() == ".json")
        text = as_json(answers) if wanted else as_csv(answers, classifier.classes)
        if self.out is None:
            sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
        else:
            write_atomically(self.out, text.encode(errors="backslashreplace"))
        failed = sum(answer.error is not None for answer in answers)
        if failed:
            print(f"{failed} of {len(answers)} images could not be read; see the column error", file=sys.stderr)
        return 1 if failed else 0


def model_and_images(first: str, others: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """What was named as model and as images; the model in the box, which is said, where the first is an image."""
    from medmamba.bundle import DESCRIPTION
    from medmamba.data.finding import names_images

    if models := [name for name in others if (Path(name) / DESCRIPTION).is_file() or Path(name).suffix == ".onnx"]:
        raise InputError(f"{models[0]} is a trained model, and stands among the images; name one model, and it first")
    if not names_images(first):
        return Path(first), others
    return model_in_the_box(), (first, *others)


def model_in_the_box() -> Path:
    """Its folder; that it answers, and what it is for, is said."""
    from medmamba import boxed

    print(f"medmamba: no model was named, so the model in the box answers: {boxed.PURPOSE}", file=sys.stderr)
    return boxed.path()
