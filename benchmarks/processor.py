"""MedMamba beside other networks on a processor, in plain PyTorch, float32.

    python benchmarks/processor.py [--threads 2] [--rounds 9] [--out FILE]

On a processor that others use too, speed drifts by more than the networks differ. So they take turns: a step of each in
every round, and the figure is the median over rounds of a network's time by that of the first in the same round, with
the quartiles. Prediction is in `inference_mode`, as `medmamba predict` does it; training is
forward, backward and AdamW. Each comparison has a process of its own, since what ran before decides where the next
finds its memory. Memory is the largest of a process that does nothing else, with Python and PyTorch.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch
import torch.nn.functional as F
from epoch_rate import provenance

import medmamba
from medmamba.export.program import as_onnx, trace
from medmamba.network import for_inference
from medmamba.predictor.onnx_file import INPUT

RESULTS = Path(__file__).parent / "results" / "processor.json"
CLASSES = 1000
OF_PIXELS = (224, 1024)  # heights of images whose times a pixel are compared
SMALL = 60  # rounds where a step takes some dozen milliseconds


@dataclass(frozen=True)
class Comparison:
    """Networks that take turns, and the bounds of the second one's time by the first one's."""

    models: tuple[str, ...]
    batch: int = 1
    train: bool = False
    exported: bool = False  # the first network once more, as `medmamba export` writes it, in onnxruntime
    must: float | None = None
    aim: float | None = None


COMPARISONS = {
    "one image": Comparison(("convnext_tiny", "medmamba_tiny"), must=0.9, aim=0.6),
    "16 images": Comparison(("convnext_tiny", "medmamba_tiny"), 16, must=0.9, aim=0.6),
    "training step of 8": Comparison(("convnext_tiny", "medmamba_tiny"), 8, train=True, must=1.5, aim=0.8),
    "small networks, one image": Comparison(
        ("efficientnet_b0", "medmamba_nano", "mobilenetv3_large_100"), must=1.2, aim=0.7
    ),
    "exported, one image": Comparison(("medmamba_tiny",), exported=True, must=4.0, aim=1.5),
    "exported, 16 images": Comparison(("medmamba_tiny",), 16, exported=True),
    "exported small network": Comparison(("medmamba_nano",), exported=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--rounds", type=int, default=9, help="of a comparison whose steps take seconds; more of others"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # what a process of its own does
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.rounds)))
        return

    def apart(what: str) -> Any:
        print(what, file=sys.stderr, flush=True)
        options = ["--threads", str(arguments.threads), "--rounds", str(arguments.rounds), "--measure", what]
        done = subprocess.run([sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    results = {
        **provenance(torch.device("cpu"), arguments.commit),
        "processor": processor(),
        "image_size": [224, 224],
        "comparisons": {name: apart(name) for name in COMPARISONS},
        "pixels": apart("pixels"),
        "memory": apart("memory"),
    }
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results), arguments.out, sep="\n\n")


def table(results: dict[str, Any]) -> str:
    """For docs/explain/scan.md: a row a network beside the first of its comparison."""
    lines = ["| what | network | ms | by the first's time |", "| --- | --- | --- | --- |"]
    for name, comparison in results["comparisons"].items():
        for model, ratio in comparison["ratio"].items():
            beside = f"{ratio['median']:.2f} ({ratio['q1']:.2f} to {ratio['q3']:.2f})"
            lines.append(f"| {name} | {model} | {comparison['ms'][model]['median']:,.0f} | {beside} |")
    return "\n".join(lines)


def measure(what: str, rounds: int) -> dict[str, Any]:
    """One of `COMPARISONS`, `pixels` or `memory`."""
    if what == "memory":
        return memory()
    return pixels(rounds) if what == "pixels" else compare(COMPARISONS[what], rounds)


def compare(wanted: Comparison, rounds: int) -> dict[str, Any]:
    """Times in ms, and ratios to the first network."""
    torch.manual_seed(0)
    images = torch.rand(wanted.batch, 3, 224, 224)
    nets = {model: load(model, wanted.train) for model in wanted.models}
    calls = {model: (step if wanted.train else predict)(net, images) for model, net in nets.items()}
    if wanted.exported:
        calls[f"{wanted.models[0]} in onnxruntime"] = in_onnxruntime(wanted.models[0], images)
    times = take_turns(calls, rounds if wanted.batch > 1 else SMALL)
    first = times[wanted.models[0]]
    ratios = {model: spread([a / b for a, b in zip(own, first, strict=True)]) for model, own in times.items()}
    return {
        "batch_size": wanted.batch,
        "work": "training" if wanted.train else "prediction",
        "ms": {model: spread(own) for model, own in times.items()},
        "ratio": ratios,
        "must": wanted.must,
        "aim": wanted.aim,
    }


def pixels(rounds: int) -> dict[str, Any]:
    """Time a pixel of one image, at two sizes, and the ratio of the larger to the smaller."""
    net = load("medmamba_tiny", train=False)
    calls = {str(side): predict(net, torch.rand(1, 3, side, side)) for side in OF_PIXELS}
    times = take_turns(calls, rounds)
    small, large = ([ms * 1e6 / side**2 for ms in times[str(side)]] for side in OF_PIXELS)
    ratio = spread([b / a for a, b in zip(small, large, strict=True)])
    return {"sides": list(OF_PIXELS), "ns": [spread(small), spread(large)], "ratio": ratio, "must": 1.3, "aim": 1.1}


def memory() -> dict[str, Any]:
    """Of this process, after the prediction for one large image."""
    side = OF_PIXELS[1]
    predict(load("medmamba_tiny", train=False), torch.rand(1, 3, side, side))()
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"side": side, "gb": gigabytes, "must": 2.0, "aim": 1.0}


def load(model: str, train: bool) -> torch.nn.Module:
    net = medmamba.create_model(model, num_classes=CLASSES).to(memory_format=torch.channels_last)
    return net.train() if train else for_inference(net.eval())


def predict(net: torch.nn.Module, images: torch.Tensor) -> Callable[[], object]:
    images = images.to(memory_format=torch.channels_last)

    def call() -> None:
        with torch.inference_mode():
            net(images)

    return call


def in_onnxruntime(model: str, images: torch.Tensor) -> Callable[[], object]:
    """With as many threads as PyTorch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    net = medmamba.create_model(model, num_classes=CLASSES).eval()
    content = as_onnx(trace(net, torch.zeros(2, *images.shape[1:]), "the network"), {})
    session = onnxruntime.InferenceSession(content, options)
    pixels = images.contiguous().numpy()
    return lambda: session.run(None, {INPUT: pixels})


def step(net: torch.nn.Module, images: torch.Tensor) -> Callable[[], object]:
    images = images.to(memory_format=torch.channels_last)
    targets = torch.arange(len(images)) % CLASSES
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)

    def call() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(images), targets).backward()
        optimizer.step()

    return call


def take_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Times in ms of each, one a round, after two rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn > 1:
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def spread(values: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "q1": low, "q3": high}


def processor() -> str:
    """What it calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
