"""How much of the bare speed of a training step is left in a whole epoch of `medmamba.fit`.

    python benchmarks/epoch_rate.py DATA [--model medmamba_tiny] [--size 224] [--batch 128] [--compile] [--out FILE]

The bare step is what a training step must do and nothing else: forward, loss, backward and AdamW on one batch that is
on the device already, normalised; recorded in a CUDA graph where training records its steps. It is measured before and
after the training, so that a card that warms up flatters neither. The epoch is measured in `fit`, from its start to its
end and from the second on, with all that training does around the step: gathering, augmentation, normalisation,
learning rate, seeds, Lightning. Both rates are images a second. The training split of DATA is repeated until an epoch
has --steps batches; validation and saving are told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medmamba
from medmamba.benchmark.machine import card, source, versions
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.device import check_device, scan_backend
from medmamba.network import MedMamba, record
from medmamba.tasks import loss
from medmamba.training.module import parameter_groups
from medmamba.training.precision import choose_precision
from medmamba.training.preparation import COMPILER
from medmamba.training.recipe import load_recipe

RESULTS = Path(__file__).parent / "results" / "epoch-rate.json"
RECIPE = "clinical"  # the one that `train` takes if none is named
MUST = 0.85
REPEATS = 3  # measurements of the bare step on either side of the training
LINE = re.compile(
    r"time of epoch (\d+): training ([\d.]+) s \(([\d.]+) images/s\), of it \d+ % waiting for images \(([\d.]+) s\) "
    r"and [\d.]+ s computing; validation and saving ([\d.]+) s"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="as for `medmamba train`")
    parser.add_argument("--model", default="medmamba_tiny")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40, help="in an epoch, at least")
    parser.add_argument("--epochs", type=int, default=4, help="the first is not counted")
    parser.add_argument("--augment", default="light")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="both the bare step and the training")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error("the first epoch is not counted: give 2 or more")
    device = check_device(arguments.device)
    data = repeated(medmamba.open_data(arguments.data), arguments.batch * arguments.steps)
    # recorded anew after the training: at its end Lightning frees the memory in which cuBLAS works for a graph
    before, graph = bare_rates(arguments, device, data)
    epochs = train(arguments, data)[1:]
    after, _ = bare_rates(arguments, device, data)
    results = describe(arguments, device, data, graph, before + after, epochs)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps({name: results[name] for name in ("device", "ratio", "ratio_with_validation_and_saving")}))
    print(arguments.out)


def repeated(data: Dataset, least: int) -> Dataset:
    """The same data with `least` training images or more, the same ones again and again."""
    images = data.split("train")
    rows = np.arange(max(least, len(images))) % len(images)
    train = ImageSet(
        names=tuple(f"{turn // len(images)}/{images.names[row]}" for turn, row in enumerate(rows)),
        targets=images.targets[rows],
        files=None if images.files is None else tuple(images.files[row] for row in rows),
        array=None if images.array is None else images.array[rows],
    )
    return replace(data, splits={**data.splits, "train": lambda: train}, made_splits=())


def bare_step(arguments: argparse.Namespace, device: torch.device, data: Dataset) -> tuple[Callable[[], None], bool]:
    """A function that does one step on a batch that is on the device, and whether it is a graph's replay."""
    recipe, size, batch, classes = load_recipe(RECIPE), arguments.size, arguments.batch, len(data.classes)
    torch.manual_seed(0)
    net = medmamba.create_model(arguments.model, num_classes=classes, image_size=(size, size)).to(device).train()
    graph = device.type == "cuda" and isinstance(net, MedMamba)  # as `fit` does with the options given here
    groups = parameter_groups(net, recipe.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, fused=True, capturable=graph)
    mixed = choose_precision("auto", device) == "bf16-mixed"
    images = torch.rand(batch, 3, size, size, device=device) * 2 - 1
    targets = torch.from_numpy(data.split("train").targets[:batch]).to(device)
    if arguments.compile:
        net.compile(backend=COMPILER, dynamic=False)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            losses = loss(data.task, net(images), targets)
        losses.mean().backward()
        optimizer.step()

    if not graph:
        return step, False
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(stream)
    return record(step, stream), True


def bare_rates(arguments: argparse.Namespace, device: torch.device, data: Dataset) -> tuple[list[float], bool]:
    """Images a second of the bare step, one figure a measurement, after a warm-up; and whether it is recorded."""
    step, graph = bare_step(arguments, device, data)

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    run(min(10, arguments.steps))
    return [arguments.batch * arguments.steps / run(arguments.steps) for _ in range(REPEATS)], graph


def train(arguments: argparse.Namespace, data: Dataset) -> list[dict[str, float]]:
    """Train, and return what the log says of each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        run = medmamba.fit(
            data,
            out=Path(folder) / "run",
            model=arguments.model,
            recipe=RECIPE,
            image_size=(arguments.size, arguments.size),
            epochs=arguments.epochs,
            batch_size=arguments.batch,
            augment=arguments.augment,
            device=arguments.device,
            compile=arguments.compile,
            progress=False,
        )
        return paces(run, arguments.epochs)


def paces(run: Path, epochs: int) -> list[dict[str, float]]:
    """What the log of a run says of the time of each epoch."""
    found = [[float(number) for number in numbers] for numbers in LINE.findall((run / "log.txt").read_text())]
    if len(found) != epochs:
        raise SystemExit(f"the log of the run tells of {len(found)} epochs, not of {epochs}")
    return [
        {
            "epoch": int(epoch),
            "images_per_second": rate,
            "with_validation_and_saving": rate * training / (training + rest),
            "share_waiting_for_images": waiting / training,
        }
        for epoch, training, rate, waiting, rest in found
    ]


def describe(
    arguments: argparse.Namespace,
    device: torch.device,
    data: Dataset,
    graph: bool,
    bare: list[float],
    epochs: list[dict[str, float]],
) -> dict[str, Any]:
    """The results file."""
    rate = statistics.median(bare)
    whole, everything = (
        statistics.median(epoch[name] for epoch in epochs)
        for name in ("images_per_second", "with_validation_and_saving")
    )
    return {
        **provenance(device, arguments.commit),
        "scan_backend": scan_backend(device),
        "data": data.name,
        "training_images": len(data.split("train")),
        "validation_images": len(data.split("val")),
        "model": arguments.model,
        "image_size": [arguments.size, arguments.size],
        "batch_size": arguments.batch,
        "precision": choose_precision("auto", device),
        "mode": "compile" if arguments.compile else "eager",
        "recorded": graph,
        "augment": arguments.augment,
        "bare": {"images_per_second": rate, "all": bare},
        "epoch": {"images_per_second": whole, "all": epochs},
        "ratio": whole / rate,
        "ratio_with_validation_and_saving": everything / rate,
        "must": MUST,
        "reached": whole / rate >= MUST,
    }


def provenance(device: torch.device, commit: str | None) -> dict[str, Any]:
    """What a results file says of where its figures come from; no path of the machine."""
    here, words = source(), [Path(word).name if os.sep in word else word for word in sys.argv]
    return {
        "command": " ".join(["python", f"benchmarks/{words[0]}", *words[1:]]),
        "commit": commit or here["commit"],
        "changed": here["changed"],
        "device": card(device),
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
