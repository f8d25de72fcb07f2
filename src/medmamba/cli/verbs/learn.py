"""Verbs that make a model."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from medmamba.cli.console import is_first_process, parse_arguments, print_calibration, print_headline, progress_bar
from medmamba.training.config import TrainConfig


@dataclass(frozen=True)
class Demo:
    """A whole run on built-in data: train, calibrate, evaluate, predict on synthetic ultrasound, in a few minutes."""

    out: Path = Path("demo")
    """Folder for all of it; new or empty."""
    seed: int = 0
    """Decides the images and the training."""

    def run(self) -> int:
        from medmamba.demo import run_demo

        with progress_bar("evaluating") as progress:
            made = run_demo(self.out, seed=self.seed, progress=progress)
        print_headline(made.report)
        print(f"\n{len(made.predictions)} images of the test split, classified:")
        for answer in made.predictions:
            refer = f"  for a person: {answer.refer}" if answer.refer else ""
            print(f"  {Path(answer.file).name}  {answer.label}  {answer.probabilities[answer.label or '']:.3f}{refer}")
        print(f"\nMade: {made.run} (the trained model, its card and curves)")
        print(f"      {made.run / 'evaluation-test'} (metrics, scores of every image, plots)")
        print(f"      {made.pictures} (the images above)")
        print(f"Next: medmamba predict {made.run} {made.pictures}")
        print(
            "      medmamba train YOUR_FOLDER --out runs/first --recipe small --image-size 96 96 --model medmamba_nano"
        )
        return 0


@dataclass(frozen=True)
class Train:
    """Train a model and write its bundle. The epoch is chosen on the validation split; the test split is not read."""

    data: Positional[str]
    """A folder of class folders, a table (file,label[,split][,patient]), a MedMNIST .npz, the name of a MedMNIST set,
    or phantoms."""
    out: Path
    """Folder for the trained model, not in the data; new or empty, unless --resume."""
    config: TrainConfig = field(default_factory=TrainConfig)
    resume: bool = False
    """Go on from the last finished epoch of the run in --out, with the same data and options."""
    task: str | None = None
    """binary, multi-class, multi-label or ordinal, where the data does not tell."""
    positive: str | None = None
    """Positive class of a binary task; the last one in order otherwise."""
    group_column: str | None = None
    """Column of the table that names the patient, if it is not called patient or group."""
    label_columns: tuple[str, ...] = ()
    """Columns of 0 and 1 in the table, one for each label of a multi-label task."""
    allow: tuple[str, ...] = ()
    """Faults of the data to go on in spite of, by name; see docs/how-to/check.md."""
    model_args: tuple[str, ...] = ()
    """More arguments of the model, as name=value with JSON values, for example drop_path_rate=0.2."""

    def run(self) -> int:
        from medmamba.training import fit

        config = self.config.with_options({"model_args": parse_arguments(self.model_args)})
        folder = fit(
            self.data,
            out=self.out,
            config=config,
            resume=self.resume,
            task=self.task,
            positive=self.positive,
            group_column=self.group_column,
            label_columns=self.label_columns,
            allow=self.allow,
            command=" ".join(["medmamba", *sys.argv[1:]]),
        )
        return told(folder)


@dataclass(frozen=True)
class Pretrain:
    """Train one backbone on several data sets at once, for train --init to start from. No test split is opened.

    Each data set has a head of its own, and the best epoch has the highest mean of their validation AUCs.
    """

    data: Positional[tuple[str, ...]]
    """Two or more data sets, each as for train."""
    out: Path
    """Folder for the backbone, not in the data; new or empty, unless --resume."""
    config: TrainConfig = field(default_factory=TrainConfig)
    resume: bool = False
    """Go on from the last finished epoch of the run in --out, with the same data and options."""
    allow: tuple[str, ...] = ()
    """Faults of the data to go on in spite of, by name; see docs/how-to/check.md."""
    model_args: tuple[str, ...] = ()
    """More arguments of the model, as name=value with JSON values, for example drop_path_rate=0.2."""

    def run(self) -> int:
        from medmamba.training import pretrain

        folder = pretrain(
            self.data,
            out=self.out,
            config=self.config.with_options({"model_args": parse_arguments(self.model_args)}),
            resume=self.resume,
            allow=self.allow,
            command=" ".join(["medmamba", *sys.argv[1:]]),
        )
        return told(folder)


def told(folder: Path) -> int:
    """Print where a run is; its exit code: 1 where it was stopped before its end, so that nothing goes on with it."""
    if not is_first_process():
        return 0
    print(folder)
    from medmamba.backbone import load_start

    return 1 if str(load_start(folder).provenance.get("ended")).startswith("stopped") else 0


@dataclass(frozen=True)
class Calibrate:
    """Choose on validation images how a trained model decides: how sure it is, its threshold, when to ask a person.

    What is chosen is stored with the model, and predict and evaluate use it.
    """

    model: Positional[Path]
    """Folder of the trained model."""
    data: Positional[str]
    """What it was trained on; or other data with the same classes and a validation split."""
    split: str = "val"
    """Which images decide; not test."""
    sensitivity: float | None = None
    """Threshold with at least this sensitivity on these images, of the positive class, or of each label."""
    specificity: float | None = None
    """Threshold with at least this specificity."""
    youden: bool = False
    """Threshold with the largest sum of both."""
    error: float = 0.1
    """Share of images whose true class may be missing from its prediction set; 0 for no sets."""
    refused: float = 0.05
    """Share of validation images told to be unlike those of the training; 0 for no such check."""
    group_column: str | None = None
    """Column of the table that names the patient, as in training."""
    label_columns: tuple[str, ...] = ()
    """Columns of 0 and 1 in the table, as in training."""
    allow: tuple[str, ...] = ()
    """Faults of the data to go on in spite of, by name; see docs/how-to/check.md."""
    batch_size: int = 64
    """Images at once; changes speed and memory, not the figures."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    json: bool = False
    """Print what was found as JSON."""

    def run(self) -> int:
        from medmamba.calibration import OperatingPoint, calibrate

        with progress_bar("calibrating") as progress:
            fitted = calibrate(
                self.model,
                self.data,
                split=self.split,
                point=OperatingPoint(self.sensitivity, self.specificity, self.youden),
                error=self.error or None,
                refused=self.refused or None,
                group_column=self.group_column,
                label_columns=self.label_columns,
                allow=self.allow,
                batch_size=self.batch_size,
                device=self.device,
                progress=progress,
            )
        if self.json:
            print(json.dumps(fitted, indent=2, ensure_ascii=False))
        else:
            print_calibration(fitted)
        return 0
