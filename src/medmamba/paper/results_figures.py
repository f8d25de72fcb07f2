"""The figures on the page of results: the picture, what is to be known of it, and which runs it is from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medmamba.paper.plans import of_figure


def figure_lines(name: str, report: Mapping[str, Any], folder: Path, place: str) -> Iterator[str]:
    """A figure in Markdown.

    Args:
        name: `figure3` to `figure7`.
        report: What its JSON file holds.
        folder: Of the results.
        place: The same from the page.
    """
    heading = f"Figure {name.removeprefix('figure')}: {report['title']}"
    yield from (f"## {heading}", "", f"![{heading}]({place}/{name}.png)", "")
    yield from (" ".join(report["notes"]), "")
    if made := dict.fromkeys(_method(about) for about in _models(report) if "method" in about):
        yield from (f"Maps by {'; '.join(made)}.", "")
    if empty := [f"{panel['title']} ({panel['why_empty']})" for panel in report["panels"] if panel.get("why_empty")]:
        yield from (f"Nothing is shown of {', '.join(empty)}.", "")
    if lost := [run for run in runs_of_figure(name, report) if not (folder / run).is_file()]:
        names = ", ".join(run.removeprefix("runs/").removesuffix(".json") for run in lost)
        yield from (f"Models of which no run file is kept, so that they cannot be traced: {names}.", "")


def runs_of_figure(name: str, report: Mapping[str, Any]) -> list[str]:
    """The files of the runs that a figure shows, below the folder of results, whether they are there or not."""
    if name == "figure4":
        points = [point for panel in report["panels"] for point in panel["points"]]
        return list(dict.fromkeys(f"runs/{run}" for point in points for run in point["runs"]))
    shown = [(about["set"], about["model"], about["recipe"], about["seed"]) for about in _models(report)]
    planned = {(run.data, run.model, run.recipe, run.seed): run for run in of_figure(name)}
    return [f"runs/{planned[key].name}.json" for key in shown if key in planned]


def _models(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is said of each trained model that a figure shows, with the data set of its panel."""
    return [
        {"set": panel["set"], **about}
        for panel in report["panels"]
        for about in (panel.get("models") or [panel.get("model")])
        if about is not None
    ]


def _method(about: Mapping[str, Any]) -> str:
    return f"{about['method']} at {', '.join(about['layers'])}"
