"""The rows of tables 3 to 7: the paper's values, ours below them, and what becomes of each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.data.catalogue import CATALOGUE
from medmamba.paper.networks import Network, network
from medmamba.paper.ours import Ours, ours
from medmamba.paper.printed import FIGURES, PERCENT, TITLES, Value, values
from medmamba.paper.sets import ABSENT

if TYPE_CHECKING:
    from medmamba.paper.cells import Estimate

NOT_RUN, CITED = "not run", "cited, not run"
IN, OUT, UNKNOWN = "in our interval", "not reproduced", "no interval"


@dataclass(frozen=True)
class Comparison:
    """One row of a table: a model on a data set, in print, here, or both.

    Attributes:
        table: `table3` to `table7`.
        data: The data set.
        network: The model.
        title: Its name in the paper; ours for one that the paper's table does not have.
        paper: The printed values by metric; empty for a row of ours alone.
        found: Our figures; None without runs.
        status: One of the words above, or empty where there is nothing to compare with.
    """

    table: str
    data: str
    network: Network
    title: str
    paper: dict[str, Value]
    found: Ours | None
    status: str

    def inside(self, metric: str) -> bool | None:
        """Whether the printed value, rounded as it is, may lie in our interval; None where one of them is missing."""
        if self.found is None or metric not in self.paper:
            return None
        figure, paper = self.found.figures[metric], self.paper[metric]
        if figure.low is None or figure.high is None:
            return None
        return figure.low - paper.rounding <= paper.value <= figure.high + paper.rounding


def comparisons(
    table: str,
    data: str,
    keys: Sequence[str],
    results: Path,
    seeds: Sequence[int],
    at_hand: Collection[str],
) -> list[Comparison]:
    """The rows of one data set: those of the paper's table, or ours alone where the paper does not have the set."""
    printed: dict[str, dict[str, Value]] = {}
    for value in values(table):
        if value.data == data and value.metric in FIGURES:
            printed.setdefault(value.model, {})[value.metric] = value
    return [_comparison(table, data, key, printed.get(key, {}), results, seeds, at_hand) for key in keys]


def _comparison(
    table: str,
    data: str,
    key: str,
    paper: dict[str, Value],
    results: Path,
    seeds: Sequence[int],
    at_hand: Collection[str],
) -> Comparison:
    about = network(key)
    found = ours(results, data, about, seeds)
    title = next(iter(paper.values())).printed_model if paper else printed_title(table, key)
    cell = Comparison(table, data, about, title, paper, found, "")
    if found is not None:
        status = _outcome(cell, found)
    elif about.model is None:
        status = CITED
    else:
        status = NOT_RUN if data in at_hand else ABSENT
    return Comparison(table, data, about, title, paper, found, status)


def _outcome(cell: Comparison, found: Ours) -> str:
    """What becomes of a row that was run; only the paper's number of test images is compared with the paper."""
    if not cell.paper:
        return ""
    expected = CATALOGUE[cell.data].paper
    if expected and expected[2] != found.n:
        return f"no comparison: {found.n:,} test images, the paper has {expected[2]:,}"
    inside = [cell.inside(metric) for metric in cell.paper]
    return OUT if False in inside else UNKNOWN if None in inside else IN


def metrics(table: str) -> tuple[str, ...]:
    """The figures that a table has, in its order."""
    return tuple(dict.fromkeys(value.metric for value in values(table) if value.metric in FIGURES))


def printed_title(table: str, key: str) -> str:
    """What a table calls a model; its registry name where it does not have it."""
    titles = (value.printed_model for value in values(table) if value.model == key)
    return next(titles, f"`{key}`")


def head(table: str) -> tuple[str, ...]:
    """The columns of a data set's table."""
    return ("model", "", *(_column(table, metric) for metric in metrics(table)), "")


def _column(table: str, metric: str) -> str:
    return f"{TITLES[metric]}, %" if _is_percent(table, metric) else TITLES[metric]


def _is_percent(table: str, metric: str) -> bool:
    return table in PERCENT and metric != "auc"


def lines(cell: Comparison) -> list[tuple[str, ...]]:
    """A row of text for the paper, and two more where there are runs: ours, and ours less the paper's."""
    names = metrics(cell.table)
    found = []
    if cell.paper:
        words = "" if cell.found else cell.status
        found.append(("paper", *(cell.paper[name].printed for name in names), words))
    if cell.found:
        figures = cell.found.figures
        words = verdict(cell)
        found.append(
            (
                f"ours, {_seeds(cell.found.seeds)}",
                *(_words(cell.table, name, figures[name]) for name in names),
                words,
            )
        )
        if cell.paper:
            found.append(("difference", *(_difference(cell, name) for name in names), ""))
    elif not cell.paper:
        found.append(("ours", *("" for _ in names), cell.status))
    return [(cell.title if place == 0 else "", *line) for place, line in enumerate(found)]


def verdict(cell: Comparison) -> str:
    """Whether the printed values lie in our intervals, in words."""
    if cell.status not in (OUT, UNKNOWN):
        return cell.status
    meant = False if cell.status == OUT else None
    return f"{cell.status}: {', '.join(TITLES[metric] for metric in cell.paper if cell.inside(metric) is meant)}"


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seeds' if len(seeds) > 1 else 'seed'} {' '.join(map(str, seeds))}"


def words_of(table: str, metric: str, value: float, sign: str = "") -> str:
    """A figure as its table has it: in percent with one digit, or as a fraction with three."""
    return f"{100 * value:{sign}.1f}" if _is_percent(table, metric) else f"{value:{sign}.3f}"


def _words(table: str, metric: str, figure: Estimate) -> str:
    text = words_of(table, metric, figure.mean)
    if figure.sd is not None:
        text += f" ± {words_of(table, metric, figure.sd)}"
    if figure.low is not None and figure.high is not None:
        text += f" ({words_of(table, metric, figure.low)} to {words_of(table, metric, figure.high)})"
    return text


def _difference(cell: Comparison, metric: str) -> str:
    assert cell.found is not None
    return words_of(cell.table, metric, cell.found.figures[metric].mean - cell.paper[metric].value, "+")


def records(cell: Comparison) -> list[dict[str, Any]]:
    """The same for a machine: an object a figure, fractions whatever the paper prints."""
    shared = {
        "table": cell.table,
        "data": cell.data,
        "printed_model": cell.title,
        "model": cell.network.model,
        "recipe": cell.network.recipe(cell.data),
        "image_size": cell.network.image_size,
    }
    runs = [] if cell.found is None else list(cell.found.runs)
    found = []
    for metric in metrics(cell.table):
        paper = cell.paper.get(metric)
        figure = None if cell.found is None else cell.found.figures[metric]
        numbers = {name: None if figure is None else getattr(figure, name) for name in ("mean", "sd", "low", "high")}
        found.append(
            shared
            | {"metric": metric, "printed": paper and paper.printed, "paper": paper and paper.value}
            | numbers
            | {"paper_in_interval": cell.inside(metric), "status": cell.status, "runs": runs}
        )
    return found
