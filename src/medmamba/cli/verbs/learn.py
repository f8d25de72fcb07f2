"""Verbs that make a model."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from medmamba.cli.console import is_first_process, parse_arguments, print_headline, progress_bar
from medmamba.training.config import TrainConfig


@dataclass(frozen=True)
class Demo:
    """A whole run on built-in data: train, evaluate and predict on synthetic ultrasound, in a few minutes."""

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
            print(f"  {Path(answer.file).name}  {answer.label}  {answer.probabilities[answer.label or '']:.3f}")
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
    """Folder for the trained model; new or empty, unless --resume."""
    config: TrainConfig = field(default_factory=TrainConfig)
    resume: bool = False
    """Go on from the last finished epoch of the run in --out, with the same data and options."""
    task: str | None = None
    """binary, multi-class, multi-label or ordinal, where the data does not tell."""
    positive: str | None = None
    """Positive class of a binary task; the last one in order otherwise."""
    group_column: str | None = None
    """Column of the table that names the patient, if it is not called patient or group."""
    model_args: tuple[str, ...] = ()
    """More arguments of the model, as name=value with JSON values, for example drop_path_rate=0.2."""
    allow: tuple[str, ...] = ()
    """Faults of the data to go on in spite of, by name; see docs/how-to/check.md."""

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
            command=" ".join(["medmamba", *sys.argv[1:]]),
            allow=self.allow,
        )
        if is_first_process():
            print(folder)
        return 0
