"""Whether training in half precision stays finite, step by step, on noise and on pictures that no scanner makes.

    python benchmarks/mixed_precision.py [--model medmamba_tiny] [--steps 2000] [--size 224] [--batch 32] [--out FILE]

Trains with `medmamba.fit`, in bf16-mixed and in 16-mixed (where there is a GPU), and looks at each step: its loss, the
norm of all gradients together, and the running mean and variance of each BatchNorm. The extreme pictures are black,
white, a board of single pixels, one bright pixel, one colour and stripes, so that the pixels that reach the network are
at the ends of their range or all the same. Labels are random: the network has to fit what cannot be learnt, which
drives its weights further than images would.

In 16-mixed the loss is scaled, and a step whose gradients overflow is skipped and the scale lowered: that is how it
works. Such steps are counted, and gradients are judged where the step was made. Exit code 1 if anything was not finite.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from epoch_rate import provenance
from torch import Tensor

import medmamba
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.device import check_device, scan_backend
from medmamba.tasks import Task
from medmamba.training.config import TrainingError
from medmamba.training.module import Trainee

RESULTS = Path(__file__).parent / "results" / "mixed-precision.json"
CLASSES = ("a", "b", "c")
STEPS = 100  # in an epoch
RATE = 1e-3  # ten times that of the recipes for this network
KINDS = ("noise", "extreme")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="medmamba_tiny")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    device = check_device(arguments.device)
    precisions = ("bf16-mixed", "16-mixed") if device.type == "cuda" else ("bf16-mixed",)
    runs = []
    for precision in precisions:
        for kind in KINDS:
            runs.append(train(arguments, kind, precision))
            print(json.dumps(runs[-1]), file=sys.stderr)
    results = {
        **provenance(device, arguments.commit),
        "scan_backend": scan_backend(device),
        **{name: getattr(arguments, name) for name in ("model", "size", "batch", "seed")},
        "lr": RATE,
        "runs": runs,
        "finite": all(run["finite"] for run in runs),
    }
    arguments.out.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
    print(json.dumps({"device": results["device"], "finite": results["finite"]}))
    print(arguments.out)
    sys.exit(0 if results["finite"] else 1)


# pictures


def noise(generator: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Each pixel by itself, uint8 (n, size, size, 3)."""
    return generator.integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def extreme(generator: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Six kinds in turn, uint8 (n, size, size, 3)."""
    board = np.indices((size, size)).sum(axis=0) % 2
    pictures = np.zeros((n, size, size, 3), np.uint8)
    for row, picture in enumerate(pictures):
        kind = row % 6
        if kind == 1:
            picture[:] = 255
        elif kind == 2:
            picture[:] = (board ^ generator.integers(2))[..., None] * 255
        elif kind == 3:
            picture[generator.integers(size), generator.integers(size)] = 255
        elif kind == 4:
            picture[:] = generator.choice([0, 1, 127, 254, 255], 3)
        elif kind == 5:
            picture[generator.integers(2) :: 2] = 255
    return pictures


def data_of(kind: str, steps: int, batch: int, size: int, seed: int) -> Dataset:
    """Pictures with random labels, as many as an epoch of so many steps takes."""
    generator = np.random.default_rng([seed, KINDS.index(kind)])

    def images(name: str, n: int) -> ImageSet:
        pixels = {"noise": noise, "extreme": extreme}[kind](generator, n, size)
        targets = generator.permutation(np.arange(n) % len(CLASSES)).astype(np.int64)
        return ImageSet(tuple(f"{name}/{row}" for row in range(n)), targets, array=pixels)

    splits = {"train": images("train", steps * batch), "val": images("val", 2 * batch)}
    return Dataset(
        name=kind,
        task=Task.MULTICLASS,
        classes=CLASSES,
        positive=0,  # not asked of three classes
        splits={name: lambda found=found: found for name, found in splits.items()},
    )


# watching


class Watch:
    """What was seen of each step; on the device until the end, so that nothing waits for it.

    Attributes:
        losses: Of each step.
        norms: Of its gradients.
        statistics: The largest absolute number among all running statistics after it.
        scales: Of the loss, before and after it; empty where it is not scaled.
    """

    def __init__(self) -> None:
        self.losses, self.norms, self.statistics = [], [], []  # of tensors without dimensions
        self.scales: list[tuple[float, float]] = []
        self._scale: float | None = None

    def gradients(self, module: Trainee) -> None:
        """Before the optimizer's step: the gradients are still scaled, since its kernel divides them itself."""
        scaler = getattr(module.trainer.precision_plugin, "scaler", None)
        self._scale = None if scaler is None else scaler.get_scale()
        gradients = [each.grad.float() for each in module.net.parameters() if each.grad is not None]
        norm = torch.stack([each.norm() for each in gradients]).norm()
        self.norms.append(norm / (self._scale or 1.0))

    def step(self, module: Trainee, loss: Tensor) -> None:
        """After the step."""
        self.losses.append(loss.detach().clone())
        running = [each for name, each in module.net.named_buffers() if name.endswith(("running_mean", "running_var"))]
        self.statistics.append(torch.stack([each.abs().max() for each in running]).max())
        if self._scale is not None:
            self.scales.append((self._scale, module.trainer.precision_plugin.scaler.get_scale()))

    def summary(self) -> dict[str, Any]:
        """For the results file; no number in it is infinite."""
        losses, norms, statistics = (
            torch.stack(values).double().cpu().numpy() if values else np.empty(0)
            for values in (self.losses, self.norms, self.statistics)
        )
        skipped = np.array([after < before for before, after in self.scales] or [False] * len(norms), bool)
        made = norms[: len(skipped)][~skipped]
        return {
            "steps": len(losses),
            "loss": ends(losses),
            "gradient_norm": ends(made),
            "largest_running_statistic": ends(statistics),
            "skipped_steps": int(skipped.sum()),
            "loss_scale": [self.scales[0][0], self.scales[-1][1]] if self.scales else None,
            "not_finite": {
                "losses": int((~np.isfinite(losses)).sum()),
                "gradient_norms_of_steps_made": int((~np.isfinite(made)).sum()),
                "running_statistics": int((~np.isfinite(statistics)).sum()),
            },
        }


def ends(values: np.ndarray) -> list[float] | None:
    """Least and largest of the finite ones."""
    finite = values[np.isfinite(values)]
    return [float(f"{value:.6g}") for value in (finite.min(), finite.max())] if len(finite) else None


@contextmanager
def watched() -> Iterator[Watch]:
    """Inside the block every training step is looked at."""
    watch = Watch()
    before, after = Trainee.on_before_optimizer_step, Trainee.on_train_batch_end

    def gradients(self: Trainee, *arguments: Any) -> None:
        watch.gradients(self)
        before(self, *arguments)

    def step(self: Trainee, outputs: Any, batch: Any, index: int) -> None:
        after(self, outputs, batch, index)
        watch.step(self, outputs["loss"])

    Trainee.on_before_optimizer_step, Trainee.on_train_batch_end = gradients, step  # type: ignore[method-assign]
    try:
        yield watch
    finally:
        Trainee.on_before_optimizer_step, Trainee.on_train_batch_end = before, after  # type: ignore[method-assign]


def train(arguments: argparse.Namespace, kind: str, precision: str) -> dict[str, Any]:
    """One run of so many steps, and what was seen of it."""
    steps = min(STEPS, arguments.steps)
    epochs = math.ceil(arguments.steps / steps)
    data = data_of(kind, steps, arguments.batch, arguments.size, arguments.seed)
    began, ended = time.monotonic(), "finished"
    with tempfile.TemporaryDirectory() as folder, watched() as watch:
        try:
            medmamba.fit(
                data,
                out=Path(folder) / "run",
                model=arguments.model,
                recipe="quick",
                image_size=(arguments.size, arguments.size),
                epochs=epochs,
                batch_size=arguments.batch,
                lr=RATE,
                augment="none",
                seed=arguments.seed,
                device=arguments.device,
                precision=precision,
                save_seconds=1000,
                progress=False,
                allow=["leaked-images"],  # black is black
            )
        except TrainingError as reason:
            ended = str(reason)
    seen = watch.summary()
    finite = ended == "finished" and seen["steps"] == epochs * steps and not any(seen["not_finite"].values())
    made = {"precision": precision, "pictures": kind, **seen, "finite": finite, "ended": ended}
    return made | {"seconds": round(time.monotonic() - began, 1)}


if __name__ == "__main__":
    main()
