"""The verbs: one frozen dataclass each, whose fields are its options and whose `run` gives the exit code."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from medmamba.cli.console import (
    as_csv,
    as_json,
    is_first_process,
    number,
    parse_arguments,
    print_headline,
    print_table,
    progress_bar,
)
from medmamba.errors import InputError
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
        )
        if is_first_process():
            print(folder)
        return 0


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
    batch_size: int = 64
    """Images at once; changes speed and memory, not the figures."""
    resamples: int = 1000
    """Bootstrap draws of the intervals; 0 for none."""
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
class Predict:
    """Classify images: one row an image, in the order given, also for those that cannot be read (exit code 1)."""

    model: Positional[Path]
    """Folder of the trained model, or a .onnx file that export wrote."""
    images: Positional[tuple[str, ...]]
    """Files, folders (searched through), glob patterns, or .txt lists of paths."""
    out: Path | None = None
    """Write the CSV here instead of to standard output."""
    batch_size: int = 32
    """Images at once; changes speed and memory, not the answers."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    json: bool = False
    """Write JSON instead of CSV."""

    def run(self) -> int:
        from medmamba.predictor import load

        if not self.images:
            raise InputError("no images were named; give files, folders or patterns after the model's folder")
        classifier = load(self.model, device=self.device)
        with progress_bar("predicting") as progress:
            answers = classifier.predict(self.images, batch_size=self.batch_size, progress=progress)
        text = as_json(answers) if self.json else as_csv(answers, classifier.classes)
        if self.out is None:
            sys.stdout.write(text)
        else:
            from medmamba.bundle import write_atomically

            write_atomically(self.out, text.encode())
        failed = sum(answer.error is not None for answer in answers)
        if failed:
            print(f"{failed} of {len(answers)} images could not be read; see the column error", file=sys.stderr)
        return 1 if failed else 0


@dataclass(frozen=True)
class Export:
    """Write a trained model as one file that runs without PyTorch, checked against PyTorch before it is kept."""

    model: Positional[Path]
    """Folder of the trained model."""
    format: str = "onnx"
    """onnx, or pt2 for torch.export.load."""
    out: Path | None = None
    """The file; by default model.onnx or model.pt2 in the model's folder. Its record lies beside it, with .json
    behind."""
    data: str | None = None
    """Images to check with, as for train; by default those of the run's splits.csv, or else synthetic ones."""
    images: int = 16
    """How many of them; extreme ones are added."""

    def run(self) -> int:
        from medmamba.export import export

        with progress_bar("checking") as progress:
            out, check = export(
                self.model, format=self.format, out=self.out, data=self.data, images=self.images, progress=progress
            )
        batches = ", ".join(map(str, check.batches))
        print(
            f"checked on {check.images} images in batches of {batches}: the same decisions, and no probability differs "
            f"by more than {check.largest_difference:.1e}"
        )
        print(out)
        return 0


@dataclass(frozen=True)
class Import:
    """Turn a checkpoint of the published MedMamba code into a bundle."""

    checkpoint: Positional[Path]
    """The .pth file; depths, widths, patch and state size are read off it."""
    out: Path
    """Folder for the bundle; new or empty."""
    classes: tuple[str, ...] = ()
    """Names of the outputs in order; class0, class1, ... otherwise. Another number than the file's needs --new-head."""
    new_head: bool = False
    """Replace the classifier by an untrained one for --classes, to be trained with --init."""
    image_size: tuple[int, int] = (224, 224)
    """Height and width that images are resized to."""

    def run(self) -> int:
        from medmamba.importing import import_checkpoint

        report = import_checkpoint(
            self.checkpoint, self.out, classes=self.classes, new_head=self.new_head, image_size=self.image_size
        )
        print(report)
        print(self.out)
        return 0


@dataclass(frozen=True)
class Info:
    """This machine: devices, scan backends and why, versions, extras. Or a model, or a trained one."""

    models: bool = False
    """List our models with their sizes beside the paper's."""
    data: bool = False
    """List the data sets that are known by name."""
    checkpoint: Path | None = None
    """Tell what a trained model is and where it came from."""
    model: str | None = None
    """Count parameters and operations of a model, ours or timm's."""
    num_classes: int = 1000
    """Outputs of --model."""
    image_size: tuple[int, int] = (224, 224)
    """Height and width for --model."""
    channels: int = 3
    """Channels of the images for --model."""

    def run(self) -> int:
        from medmamba import info

        if self.models:
            print_table(info.models())
            print("\nAny other name of timm's works as well: python -c 'import timm; print(timm.list_models())'")
        elif self.data:
            print_table(info.data_sets())
        elif self.checkpoint is not None:
            print_table(info.bundle(str(self.checkpoint)), header=False)
        elif self.model is not None:
            counts = info.model(self.model, self.num_classes, self.image_size, self.channels)
            print_table([(name, number(value)) for name, value in counts.items()], header=False)
        else:
            print_table(info.machine(), header=False)
        return 0


@dataclass(frozen=True)
class Benchmark:
    """Speed and memory of models, ours and timm's, in one run: inference, a training step, latency of one image."""

    models: tuple[str, ...] = ()
    """Names; the others are compared with the first. By default convnext_tiny, medmamba_tiny,
    swin_tiny_patch4_window7_224 and resnet50 on cuda, resnet18 and medmamba_nano on the CPU."""
    modes: tuple[str, ...] = ()
    """eager, compile, graph (eager, replayed by a CUDA graph), compile+graph, onnx (onnxruntime on the CPU); by
    default the first four on cuda, eager on the CPU."""
    batch_size: int | None = None
    """Images at once; 128 on cuda, 8 on the CPU by default."""
    image_size: tuple[int, int] | None = None
    """Height and width; 224 224 on cuda, 64 64 on the CPU by default."""
    precision: str = "auto"
    """32-true, bf16-mixed or 16-mixed; auto is bf16-mixed on cuda and 32-true on the CPU."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""
    op: bool = False
    """Time the scan alone at the stages of medmamba_tiny, beside its computed limit; models only if they are named."""
    seconds: float = 0.7
    """How long each measurement repeats, about, after its warm-up."""
    out: Path | None = None
    """Write the report as JSON here, after each model what there is so far."""
    json: bool = False
    """Print the report as JSON instead of tables."""

    def run(self) -> int:
        from medmamba.benchmark import benchmark, make_plan, summary
        from medmamba.bundle import write_json

        if self.out is not None and not self.out.parent.is_dir():
            raise InputError(f"there is no folder {self.out.parent} to write {self.out.name} in; make it first")
        plan = make_plan(
            models=self.models,
            modes=self.modes,
            device=self.device,
            batch_size=self.batch_size,
            image_size=self.image_size,
            precision=self.precision,
            seconds=self.seconds,
            op=self.op,
        )
        save = None if self.out is None else functools.partial(write_json, self.out)
        with progress_bar("measuring") as progress:
            report = benchmark(plan, progress, save)
        if self.json:
            print(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            print_table(summary.conditions(report), header=False)
            for table in summary.tables(report):
                print()
                print_table(table)
            for line in summary.notes(report):
                print(line)
        return 1 if summary.failures(report) else 0


VERBS: dict[str, Callable[..., Any]] = {
    "demo": Demo,
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "export": Export,
    "import": Import,
    "benchmark": Benchmark,
    "info": Info,
}
