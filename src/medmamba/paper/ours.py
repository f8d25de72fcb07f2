"""What our runs gave: the run files of a cell, and its figures over seeds.

A run file is `runs/DATA/MODEL/RECIPE-SIZE-seedK.json` in a folder of results, its test scores the `.npz` beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.errors import InputError
from medmamba.paper.networks import Network

if TYPE_CHECKING:
    from medmamba.paper.cells import Estimate, RunResult

SCHEMA = 1


@dataclass(frozen=True)
class Ours:
    """A cell over its runs.

    Attributes:
        runs: Where they lie below the folder of results.
        seeds: Theirs.
        figures: By the tables' columns.
        n: Test images.
        notes: What the runs say about their data.
    """

    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    figures: Mapping[str, Estimate]
    n: int
    notes: tuple[str, ...] = ()


def run_name(data: str, network: Network, seed: int) -> str:
    """Where a run's file lies in the folder of results."""
    return f"runs/{data}/{network.model}/{network.recipe(data)}-{network.image_size}-seed{seed}.json"


def find_runs(results: Path, data: str, network: Network, seeds: Sequence[int]) -> list[RunResult]:
    """The finished runs of a cell, in the order of these seeds.

    Raises:
        InputError: A run file cannot be read.
    """
    from medmamba.paper.cells import RunResult

    if network.model is None:
        return []
    paths = [results / run_name(data, network, seed) for seed in seeds]
    return [RunResult(path, read_run(path)) for path in paths if path.is_file()]


def read_run(path: Path) -> dict[str, Any]:
    """What a run file holds.

    Raises:
        InputError: It cannot be read, or lacks its scores.
    """
    again = "delete it, and the run is made again"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise InputError(f"{path} is no run file ({reason}); {again}") from reason
    if not isinstance(entries, dict) or entries.get("schema") != SCHEMA or "test" not in entries:
        raise InputError(f"{path} is no run file of schema {SCHEMA}; {again}")
    if not path.with_suffix(".npz").is_file():
        raise InputError(f"{path} has no scores beside it; {again}")
    return entries


def ours(results: Path, data: str, network: Network, seeds: Sequence[int]) -> Ours | None:
    """The figures of a cell over its runs; None where there are none."""
    from medmamba.paper.cells import summarise

    runs = find_runs(results, data, network, seeds)
    if not runs:
        return None
    cell = summarise(runs)
    notes = dict.fromkeys(note for run in runs for note in run.entries.get("notes", ()))
    names = tuple(run_name(data, network, seed) for seed in cell.seeds)
    return Ours(names, cell.seeds, cell.figures, cell.n, tuple(notes))
