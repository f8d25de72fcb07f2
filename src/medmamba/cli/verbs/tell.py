"""Verbs that tell what is there and how fast it is."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from medmamba.cli.console import number, print_table, progress_bar
from medmamba.writing import check_place, check_replaced


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
    """Write the report as JSON here, after each model what there is so far. A file that is there is replaced only if
    benchmark wrote it."""
    json: bool = False
    """Print the report as JSON instead of tables."""

    def run(self) -> int:
        from medmamba.benchmark import benchmark, is_report, make_plan, summary
        from medmamba.json_file import write_json

        if self.out is not None:
            check_place(self.out)
            check_replaced(self.out, "benchmark", is_report)
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
