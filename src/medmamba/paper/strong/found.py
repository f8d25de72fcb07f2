"""The finished runs of our own recipe, its variants and its pre-trained starts, and those with the paper's recipes.

All lie below one folder of results: ours in `recipe/runs`, the paper's in `paper/runs`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmamba.paper.networks import network
from medmamba.paper.ours import find_runs
from medmamba.paper.plans import MEDMNIST, SEEDS
from medmamba.paper.run_file import read_run
from medmamba.paper.run_result import RunResult

RECIPE, SIZE = "strong", [224, 224]
OURS, PAPER = "recipe", "paper"  # folders
MODEL = "medmamba_tiny"
RIVALS = ("resnet18", "convnext_tiny", "vmamba_tiny")
SETS = ("retinamnist", "breastmnist", "pneumoniamnist")
assert set(SETS) == set(MEDMNIST)
Key = tuple[str, str, str, str]  # data set, model, settings that were changed as JSON, backbone it started from


@dataclass(frozen=True, eq=False)
class Runs:
    """What was found.

    Attributes:
        results: The folder that paths are below.
        own: With our recipe.
    """

    results: Path
    own: Mapping[Key, list[RunResult]]

    def strong(self, data: str, model: str, settings: str = "{}", init: str = "") -> list[RunResult]:
        """Those of one cell with our recipe, a seed each; empty where there are none."""
        return self.own.get((data, model, settings, init), [])

    def paper(self, data: str, model: str) -> list[RunResult]:
        """The same with the paper's recipe for the data set."""
        return find_runs(self.results / PAPER, data, network(model), SEEDS)

    def name(self, run: RunResult) -> str:
        """Its path below the folder of results."""
        return run.path.relative_to(self.results).as_posix()


def read_runs(results: Path) -> Runs:
    """Every run with one of the fixed seeds at 224 pixels.

    Raises:
        InputError: A run file cannot be read.
    """
    own: dict[Key, list[RunResult]] = {}
    for path in sorted((results / OURS / "runs").glob("*/*/*.json")):
        run = RunResult(path, read_run(path))
        entries = run.entries
        if entries["recipe"] == RECIPE and entries["image_size"] == SIZE and entries["seed"] in SEEDS:
            settings = json.dumps(_settings(path, entries), sort_keys=True)
            init = (entries.get("init") or {}).get("name", "")
            own.setdefault((entries["data"], entries["model"], settings, init), []).append(run)
    return Runs(results, own)


def _settings(path: Path, entries: Mapping[str, Any]) -> dict[str, Any]:
    """What was changed of the recipe; a number of epochs of its own stands in the name alone."""
    epochs = re.search(r"-epochs(\d+)", path.stem)
    return dict(entries.get("settings") or {}) | ({"epochs": int(epochs[1])} if epochs else {})
