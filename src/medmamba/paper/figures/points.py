"""From the files of runs to the points of figure 4: accuracy over seeds with its interval, and what the model costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medmamba.errors import InputError
from medmamba.evaluation import complexity
from medmamba.paper.cells import Estimate, mean_over_sets, summarise
from medmamba.paper.costs import CLASSES
from medmamba.paper.networks import label
from medmamba.paper.plans import Run
from medmamba.paper.run_file import read_run
from medmamba.paper.run_result import FIGURES, RunResult
from medmamba.paper.sets import source_of

VARIANT = "medmamba_tiny_"  # how table 7's ablations begin
Key = tuple[str, str, str, tuple[int, int]]  # model, its arguments as JSON, recipe, image size


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of one model under one recipe on one set, a seed each.

    Attributes:
        data: The set's one name.
        key: What is the same in all of them.
        runs: In the order of their seeds.
    """

    data: str
    key: Key
    runs: list[RunResult]

    @property
    def label(self) -> str:
        """What the figure calls the model."""
        model, _, recipe, size = self.key
        return label(model, recipe, list(size))

    def cost(self) -> tuple[int, int]:
        """Parameters, and multiply-adds of convolutions and linear layers, at `CLASSES` classes."""
        model, arguments, _, size = self.key
        return _cost(model, arguments, size)


@dataclass(frozen=True)
class Point:
    """One bubble: `accuracy` is a share with the bounds of its 95 % interval; the rest are counts and sources."""

    label: str
    model: str
    recipe: str
    seeds: list[list[int]]
    accuracy: dict[str, float | None]
    parameters: int
    macs_conv_linear: int
    runs: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def read_runs(folder: Path) -> tuple[list[Runs], list[str]]:
    """Runs that can be drawn, by set and model, and a sentence for each model that cannot.

    Those of table 7's ablations, of classical models, whose operations are not counted, and of other numbers of epochs
    than their recipe's are passed over.

    Raises:
        InputError: A file is damaged, or its scores are not those that it was written with.
    """
    found: dict[tuple[str, Key], list[RunResult]] = {}
    for path in sorted(folder.glob("*/*/*.json")):
        result = RunResult(path, read_run(path))
        entries = result.entries
        model, recipe, size = entries["model"], entries["recipe"], tuple(entries["image_size"])
        usual = Run(entries["data"], model, recipe, size[0], entries["seed"]).name
        if model.startswith(VARIANT) or "search" in entries or path.relative_to(folder).as_posix() != f"{usual}.json":
            continue
        _check(result)
        key = (model, json.dumps(entries["model_args"], sort_keys=True), recipe, size)
        found.setdefault((source_of(entries["data"]).name, key), []).append(result)
    gathered = [
        Runs(data, key, sorted(runs, key=lambda run: run.entries["seed"])) for (data, key), runs in found.items()
    ]
    drawable, left_out = [], []
    for each in gathered:
        try:
            each.cost()
            drawable.append(each)
        except InputError as reason:
            left_out.append(f"{each.label} on {each.data}: operations cannot be counted, {reason}")
    return drawable, left_out


def point(runs: Runs, folder: Path) -> Point:
    """The bubble of one model on one set, whose interval is that of the tables; `folder` holds the runs."""
    return _point([runs], summarise(runs.runs).figures["accuracy"], folder)


def mean_point(rows: Sequence[Runs], folder: Path) -> Point:
    """The bubble of one model: its accuracy as the plain mean over sets, whose draws are independent."""
    return _point(rows, mean_over_sets([each.runs for each in rows])["accuracy"], folder)


def _point(rows: Sequence[Runs], accuracy: Estimate, folder: Path) -> Point:
    model, _, recipe, _ = rows[0].key
    parameters, macs = rows[0].cost()
    return Point(
        rows[0].label,
        model,
        recipe,
        [[run.entries["seed"] for run in each.runs] for each in rows],
        {"value": accuracy.mean, "low": accuracy.low, "high": accuracy.high},
        parameters,
        macs,
        [run.path.relative_to(folder).as_posix() for each in rows for run in each.runs],
    )


def _check(result: RunResult) -> None:
    """Refuse scores that do not give the accuracy that the file states."""
    stated, n = result.entries["test"]["accuracy"]["value"], result.entries["test"]["n"]
    found = result.figures()[0, list(FIGURES).index("accuracy")]
    if abs(found - stated) > 0.5 / n:  # half an image
        raise InputError(
            f"{result.path} says accuracy {stated:.4f}, its scores {found:.4f}; delete it, and the run is made again"
        )


@cache
def _cost(model: str, arguments: str, size: tuple[int, int]) -> tuple[int, int]:
    """Parameters and multiply-adds, counted with shapes alone."""
    import torch

    from medmamba.models import create_model

    with torch.device("meta"):
        network = create_model(model, CLASSES, image_size=size, **json.loads(arguments))
        found = complexity(network, size, 3)
    return found["parameters"], found["macs_conv_linear"]
