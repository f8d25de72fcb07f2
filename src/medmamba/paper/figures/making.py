"""A figure by name, from the models that it shows: those that are missing are trained first and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medmamba.errors import InputError
from medmamba.paper.figures import FIGURES, Inputs
from medmamba.paper.plans import of_figure
from medmamba.paper.runs import WORK, run_missing
from medmamba.paper.schedule import Summary

MODELS = "models"  # folder of the trained models, among the results


def draw(
    what: str,
    *,
    data: Path | None,
    out: Path,
    devices: Sequence[str],
    run: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Draw a figure into `out` as WHAT.png and WHAT.json.

    Args:
        what: One of `FIGURES`.
        data: Folder with the data sets.
        out: Folder of results; trained models are kept in its `models`, and what is there is not trained again.
        devices: Where to train, as for `medmamba.paper.runs.run_missing`; the first one also runs the models.
        run: Train what is missing.
        progress: Called with (done, in all, what is being done) now and again.

    Returns:
        What the JSON file holds.

    Raises:
        InputError: There is no folder of data, or nothing to show.
        FailedError: A run failed; the figure is drawn without its model.
    """
    if data is None:
        raise InputError(f"{what} shows images; name the folder that holds the data sets with --data")
    wanted = of_figure(what)
    made = run_missing(wanted, data, out, devices, keep=out / MODELS) if run and wanted else Summary()
    bundles: dict[str, list[Path]] = {}
    for each in wanted:
        if (folder := out / MODELS / each.name).is_dir():
            bundles.setdefault(each.data, []).append(folder)
    drawn = FIGURES[what](Inputs(data, out, bundles, out, device=devices[0], progress=progress))
    made.check(out / WORK)
    return drawn
