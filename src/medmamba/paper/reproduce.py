"""A table or figure of the paper by name: what is missing is run, then ours is written beside the paper's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from medmamba.errors import InputError, suggest
from medmamba.json_file import write_json
from medmamba.paper import results
from medmamba.paper.architecture import table1
from medmamba.paper.data_sets import table2
from medmamba.paper.figures import FIGURES
from medmamba.paper.networks import chosen, network
from medmamba.paper.ours import run_of
from medmamba.paper.plans import SEEDS
from medmamba.paper.printed import data_sets
from medmamba.paper.runs import WORK, run_missing
from medmamba.paper.schedule import Summary
from medmamba.paper.sets import check_folder, find
from medmamba.paper.sheet import Sheet, html, markdown
from medmamba.writing import make_folder, writable_folder, write_atomically

SHEETS: Mapping[str, Callable[[], Sheet]] = {"table1": table1, "table2": table2}  # those that need no runs
TABLES = (*SHEETS, *results.TABLES)
WHAT = (*TABLES, *FIGURES)
SCHEMA = 1


def reproduce(
    what: str,
    *,
    data: Path | None = None,
    out: Path = Path("reproduction"),
    models: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
    device: str = "auto",
    run: bool = True,
) -> Sheet:
    """Make a table and write it to `out` as WHAT.md, WHAT.html and WHAT.json.

    Args:
        what: One of `TABLES`.
        data: Folder with the data sets, for tables that need runs; None for the one that MEDMAMBA_DATA names.
        out: Folder of results; its `runs` holds a file a run, and what is there is not run again.
        models: Keys or registry names of the models to take; all of the table for none.
        seeds: Of the runs.
        device: Where to train: auto, cpu, cuda, cuda:1 or mps.
        run: Make the runs that are missing, for those data sets that are at hand.

    Raises:
        InputError: There is no such table, model or folder.
        FailedError: A run failed; the table is written without it.
    """
    _check(what, TABLES)
    writable_folder(out)
    made = Summary()
    if what in SHEETS:
        if models:
            raise InputError(f"{what} is not made from runs of models; leave --models out")
        sheet = SHEETS[what]()
    else:
        plan = plan_of(what, folder_of(data), out, tuple(models), tuple(seeds))
        if run:
            made = _make_runs(plan, folder_of(data), device)
        sheet = results.sheet(plan)
    write(sheet, out)
    made.check(out / WORK)
    return sheet


def draw(
    what: str,
    *,
    data: Path | None = None,
    out: Path = Path("reproduction"),
    device: str = "auto",
    run: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Draw a figure, one of `FIGURES`, into `out` as WHAT.png and WHAT.json; arguments as of `reproduce`.

    Returns:
        The picture.

    Raises:
        InputError: There is no such figure or folder, or nothing to show.
        FailedError: A run failed; the figure is drawn without its model.
    """
    from medmamba.paper.figures import making

    _check(what, tuple(FIGURES))
    making.draw(what, data=folder_of(data), out=out, devices=_devices(device), run=run, progress=progress)
    return out / f"{what}.png"


def _check(what: str, names: Sequence[str]) -> None:
    if what not in names:
        raise InputError(f"there is no {what!r} to reproduce{suggest(what, WHAT)}; choose one of {', '.join(WHAT)}")


def plan_of(
    table: str, data: Path | None, out: Path, models: tuple[str, ...] = (), seeds: tuple[int, ...] = SEEDS
) -> results.Plan:
    """Which cells a table of results has here."""
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"the seeds {list(seeds)} cannot be used; give different numbers from 0 up")
    about = results.TABLES[table]
    names = (*data_sets(table), *about.beside)
    at_hand = frozenset(name for name in names if data is not None and find(data, name))
    return results.Plan(table, chosen(table, models, about.extras), out, seeds, at_hand)


def folder_of(data: Path | None) -> Path | None:
    """The folder of data sets; None where none is named.

    Raises:
        InputError: It is not there.
    """
    named = data or (Path(found) if (found := os.environ.get("MEDMAMBA_DATA")) else None)
    if named is not None:
        check_folder(named)
    return named


def _make_runs(plan: results.Plan, data: Path | None, device: str) -> Summary:
    """Train and test what is missing."""

    if data is None:
        raise InputError(
            f"{plan.table} needs data sets to train on; name their folder with --data, or take the runs that are there "
            "with --no-run"
        )
    runs = [run_of(name, network(key), seed) for name, key, seed in plan.wanted()]
    return run_missing(runs, data, plan.results, _devices(device))


def _devices(device: str) -> tuple[str, ...]:
    """The devices to share the runs between: every card for auto."""
    import torch

    if device != "auto":
        return (device,)
    cards = torch.cuda.device_count()
    return tuple(f"cuda:{i}" for i in range(cards)) or ("mps" if torch.backends.mps.is_available() else "cpu",)


def write(sheet: Sheet, out: Path) -> None:
    """The three forms of a sheet; the JSON last, so that where it stands the others stand too."""
    make_folder(out)
    write_atomically(out / f"{sheet.name}.md", markdown(sheet).encode())
    write_atomically(out / f"{sheet.name}.html", html(sheet).encode())
    write_json(out / f"{sheet.name}.json", {"schema": SCHEMA, **asdict(sheet)})
