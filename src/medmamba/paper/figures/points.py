"""From the files of runs to the points of figure 4: accuracy over seeds with its interval, and what the model costs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from medmamba.errors import InputError
from medmamba.evaluation import complexity
from medmamba.metrics.intervals import resample_weights
from medmamba.paper.figures.names import label
from medmamba.paper.figures.sets import source_of

LEVEL, RESAMPLES = 0.95, 2000
CLASSES = 6  # at which the paper counts parameters, whatever the data set
NEEDED = ("data", "model", "model_args", "recipe", "image_size", "seed", "test")
ABLATIONS = ("medmamba_tiny_scan", "medmamba_tiny_sum", "medmamba_tiny_split", "medmamba_tiny_shuffle")
Key = tuple[str, str, str, tuple[int, ...]]  # model, its arguments as JSON, recipe, image size


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of one model under one recipe on one set, a seed each.

    Attributes:
        data: The set's one name.
        key: What is the same in all of them.
        runs: What their files hold, by seed.
        files: Their files, relative to the folder of runs.
        right: Whether each test image is answered rightly, (seeds, n), float64.
        targets: Class of each test image, (n,).
        groups: Patient of each, (n,), or None.
    """

    data: str
    key: Key
    runs: list[dict[str, Any]]
    files: list[str]
    right: np.ndarray
    targets: np.ndarray
    groups: np.ndarray | None

    @property
    def label(self) -> str:
        model, _, recipe, size = self.key
        return label(model, recipe, list(size))

    def cost(self) -> tuple[int, int]:
        """Parameters, and multiply-adds of convolutions and linear layers, at `CLASSES` classes."""
        model, arguments, _, size = self.key
        return _cost(model, arguments, (size[0], size[1]))


@dataclass(frozen=True)
class Point:
    """One bubble: `accuracy` is a share with the bounds of its 95 % interval; the rest are counts and sources."""

    label: str
    model: str
    recipe: str
    seeds: list[list[int]]
    accuracy: dict[str, float]
    parameters: int
    macs_conv_linear: int
    runs: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def read_runs(folder: Path) -> tuple[list[Runs], list[str]]:
    """Runs that can be drawn, by set and model, and a sentence for each that cannot.

    Raises:
        InputError: A file is damaged, or its scores are of other images than those of another seed.
    """
    found: dict[tuple[str, Key], list[tuple[Path, dict[str, Any]]]] = {}
    left_out = []
    for path in sorted(folder.glob("*/*/*.json")):
        entries = _read(path)
        name = path.relative_to(folder).as_posix()
        if entries["model"] in ABLATIONS or "search" in entries:
            continue  # table 7's, and classical models, whose operations are not counted
        if not path.with_suffix(".npz").is_file():
            left_out.append(f"{name}: its scores are missing")
        else:
            arguments = json.dumps(entries["model_args"], sort_keys=True)
            key = (entries["model"], arguments, entries["recipe"], tuple(entries["image_size"]))
            found.setdefault((source_of(entries["data"]).name, key), []).append((path, entries))
    gathered = [_gather(folder, data, key, rows) for (data, key), rows in found.items()]
    drawable = []
    for each in gathered:
        try:
            each.cost()
            drawable.append(each)
        except InputError as reason:
            left_out.append(f"{each.label} on {each.data}: operations cannot be counted, {reason}")
    return drawable, left_out


def point(runs: Runs, seed: int) -> Point:
    """The bubble of one model on one set."""
    return mean_point([runs], seed)


def mean_point(rows: Sequence[Runs], seed: int) -> Point:
    """The bubble of one model: its accuracy as the plain mean over sets, whose draws are independent."""
    model, _, recipe, _ = rows[0].key
    value = float(np.mean([each.right.mean() for each in rows]))
    own = [zlib.crc32(f"{seed} {each.data}".encode()) for each in rows]  # of each set its own draws
    draws = np.mean(
        [resampled(each.right, each.targets, each.groups, k) for each, k in zip(rows, own, strict=True)], axis=0
    )
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    parameters, macs = rows[0].cost()
    return Point(
        rows[0].label,
        model,
        recipe,
        [[run["seed"] for run in each.runs] for each in rows],
        {"value": value, "low": float(low), "high": float(high)},
        parameters,
        macs,
        [file for each in rows for file in each.files],
    )


def resampled(right: np.ndarray, targets: np.ndarray, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """Accuracy of (seeds, n) answers in each resample of seeds and of test images, (resamples,).

    Images, or whole patients, are drawn within class, the same for all seeds of a resample, since these are asked about
    the same images; seeds are drawn with replacement.
    """
    names = None if groups is None else [str(group) for group in groups]
    images = np.concatenate(list(resample_weights(targets, names, RESAMPLES, seed)))
    seeds = np.random.default_rng((seed, len(right))).multinomial(
        len(right), np.full(len(right), 1 / len(right)), RESAMPLES
    )
    return ((seeds @ right) * images).sum(axis=1) / (len(right) * images.sum(axis=1))


def _read(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise InputError(f"{path} cannot be read ({reason}); delete it and make the run again") from None
    missing = [name for name in NEEDED if name not in entries] if isinstance(entries, dict) else list(NEEDED)
    if missing:
        raise InputError(f"{path} is no file of a run: it lacks {', '.join(missing)}; take it away")
    return dict(entries)


def _gather(folder: Path, data: str, key: Key, rows: Sequence[tuple[Path, dict[str, Any]]]) -> Runs:
    rows = sorted(rows, key=lambda row: (row[1]["seed"], row[0]))
    right, first = [], None
    for path, entries in rows:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        first = arrays if first is None else first
        if not np.array_equal(arrays["targets"], first["targets"]):
            raise InputError(f"{path} is of other test images than {rows[0][0].name}; take one of them away")
        answers = arrays["scores"].argmax(axis=1) == arrays["targets"]
        stated = entries["test"]["accuracy"]["value"]
        if abs(answers.mean() - stated) > 1.5 / len(answers):  # one tie may be broken otherwise
            raise InputError(f"{path} says accuracy {stated:.4f}, its scores {answers.mean():.4f}; make the run again")
        right.append(answers.astype(np.float64))
    assert first is not None
    files = [path.relative_to(folder).as_posix() for path, _ in rows]
    runs = [entries for _, entries in rows]
    return Runs(data, key, runs, files, np.stack(right), first["targets"], first.get("groups"))


@cache
def _cost(model: str, arguments: str, size: tuple[int, int]) -> tuple[int, int]:
    """Parameters and multiply-adds, counted with shapes alone."""
    import torch

    from medmamba.models import create_model

    with torch.device("meta"):
        network = create_model(model, CLASSES, image_size=size, **json.loads(arguments))
        found = complexity(network, size, 3)
    return found["parameters"], found["macs_conv_linear"]
