"""What one change does, on the runs that are there: table 7's order of the four ablations, and X against T."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.paper.networks import network
from medmamba.paper.ours import find_runs
from medmamba.paper.plans import ABLATIONS
from medmamba.paper.printed import TITLES

if TYPE_CHECKING:
    from medmamba.paper.cells import Estimate

SCAN, SUM, SPLIT, WHOLE = ABLATIONS
SHORT = {SCAN: "SSM", SUM: "SSM, Conv", SPLIT: "SSM, Conv, SP", WHOLE: "SSM, Conv, SP, SF"}
# the paper's accuracies rise along these on four of its five sets, and from the first to the second on all
STEPS = ((SCAN, SPLIT), (SPLIT, WHOLE), (WHOLE, SUM), (SCAN, SUM))
AUGMENTATION = (("medmamba_tiny", "medmamba_tiny+autoaugment"),)  # T, and X of the paper
CONFIRMED, CONTRADICTED, UNDECIDED = "as in the paper", "the other way round", "not decided"


@dataclass(frozen=True)
class Step:
    """What the second model has more than the first on one data set, with 95 % intervals over seeds and test images."""

    data: str
    first: str
    second: str
    seeds: tuple[int, ...]
    differences: dict[str, Estimate]

    def verdict(self, metric: str) -> str:
        """Whether the second is the better one, as the paper has it."""
        figure = self.differences[metric]
        if figure.low is None or figure.high is None:
            return UNDECIDED
        return CONFIRMED if figure.low > 0 else CONTRADICTED if figure.high < 0 else UNDECIDED

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        numbers = {
            metric: {name: getattr(self.differences[metric], name) for name in ("mean", "low", "high")}
            | {"verdict": self.verdict(metric)}
            for metric in ("accuracy", "auc")
        }
        return {"data": self.data, "first": self.first, "second": self.second, "seeds": self.seeds, **numbers}


def steps(results: Path, data: str, seeds: Sequence[int], pairs: Sequence[tuple[str, str]] = STEPS) -> list[Step]:
    """The steps that can be tested: both models of the pair have a run with the same seed."""
    from medmamba.paper.cells import paired

    keys = dict.fromkeys(key for pair in pairs for key in pair)
    runs = {key: {run.entries["seed"]: run for run in find_runs(results, data, network(key), seeds)} for key in keys}
    found = []
    for first, second in pairs:
        if both := tuple(seed for seed in seeds if seed in runs[first] and seed in runs[second]):
            differences = paired([runs[first][seed] for seed in both], [runs[second][seed] for seed in both])
            found.append(Step(data, first, second, both, differences))
    return found


def row(step: Step, title: str) -> tuple[str, ...]:
    """A step as text."""
    cells = [f"{difference(step, metric)}: {step.verdict(metric)}" for metric in ("accuracy", "auc")]
    return (title, f"{SHORT[step.second]}, less {SHORT[step.first]}", " ".join(map(str, step.seeds)), *cells)


HEAD = ("data set", "better in the paper, less the other", "seeds", "OA, points", TITLES["auc"])


def difference(step: Step, metric: str) -> str:
    """Its difference in words, accuracy in points."""
    figure = step.differences[metric]
    factor, digits = (100, 1) if metric == "accuracy" else (1, 3)
    text = f"{factor * figure.mean:+.{digits}f}"
    if figure.low is None or figure.high is None:
        return text
    return f"{text} ({factor * figure.low:+.{digits}f} to {factor * figure.high:+.{digits}f})"
