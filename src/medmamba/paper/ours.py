"""What our runs gave: the run files of a cell, and its figures over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medmamba.paper.networks import Network
from medmamba.paper.plans import Run
from medmamba.paper.run_file import read_run

if TYPE_CHECKING:
    from medmamba.paper.cells import Estimate
    from medmamba.paper.run_result import RunResult


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


def run_of(data: str, network: Network, seed: int) -> Run:
    """The run of a cell with one seed; `network.model` is not None."""
    assert network.model is not None
    return Run(data, network.model, network.recipe(data), network.image_size, seed)


def find_runs(results: Path, data: str, network: Network, seeds: Sequence[int]) -> list[RunResult]:
    """The finished runs of a cell with these seeds, the lowest first.

    Raises:
        InputError: A run file cannot be read.
    """
    from medmamba.paper.run_result import RunResult

    if network.model is None:
        return []
    paths = [run_of(data, network, seed).file(results) for seed in sorted(seeds)]
    return [RunResult(path, read_run(path)) for path in paths if path.is_file()]


def ours(results: Path, data: str, network: Network, seeds: Sequence[int]) -> Ours | None:
    """The figures of a cell over its runs; None where there are none."""
    from medmamba.paper.cells import summarise

    runs = find_runs(results, data, network, seeds)
    if not runs:
        return None
    cell = summarise(runs)
    notes = dict.fromkeys(note for run in runs for note in run.entries.get("notes", ()))
    names = tuple(run.path.relative_to(results).as_posix() for run in runs)
    return Ours(names, cell.seeds, cell.figures, cell.n, tuple(notes))
