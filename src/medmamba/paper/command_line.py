"""The command line of the scripts that make the runs of a plan on the cards of this machine until a deadline."""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from medmamba.paper.job import Unit
from medmamba.paper.plans import Run
from medmamba.paper.runs import run_missing

MEMORY = Path("/dev/shm")  # a folder in memory: each run writes some hundred MB again and again
ROOM = 16 * 1024**3

Plans = Mapping[str, Callable[[], Sequence[Unit]]]


def make_plans(plans: Plans, about: str, out: Path, words: Sequence[str] | None = None) -> int:
    """Make the runs that the command line asks for.

    Args:
        plans: By name; `all` is made where none is named.
        about: What the help says.
        out: Folder of the results where none is named.
        words: The command line; None for that of this process.

    Returns:
        The exit code: 1 if a run failed.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with medmnist/*.npz, busi256 and what else the plan names")
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--work", type=Path, default=None, help="by default in memory where there is room, else in OUT")
    parser.add_argument("--devices", type=int, default=1, help="CUDA devices; 0 for the processor")
    parser.add_argument("--per-device", type=int, default=2)
    parser.add_argument("--deadline", type=float, default=None, help="seconds")
    parser.add_argument("--only", nargs="*", choices=tuple(plans), default=["all"])
    parser.add_argument("--sets", nargs="*", default=None, help="only runs on these data sets")
    parser.add_argument("--models", nargs="*", default=None, help="only runs of these models")
    parser.add_argument("--cut", action="store_true", help="start runs that will not end in time as well")
    parser.add_argument("--keep", type=Path, default=None, help="folder for the trained models, which the figures need")
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that workers are ended
    summary = run_missing(
        chosen([run for name in arguments.only for run in plans[name]()], arguments.sets, arguments.models),
        arguments.data,
        arguments.out,
        [f"cuda:{index}" for index in range(arguments.devices)] or ["cpu"],
        arguments.per_device,
        arguments.deadline,
        cut=arguments.cut,
        work=arguments.work or work_folder(),
        keep=arguments.keep,
        commit=arguments.commit or commit(),
    )
    return 1 if summary.failed else 0


def chosen(plan: Sequence[Unit], sets: Sequence[str] | None, models: Sequence[str] | None) -> list[Unit]:
    """The runs of a plan on some sets and of some models, None for any, and the backbones that they start from."""
    runs = {run.name: run for run in plan if isinstance(run, Run)}.values()
    kept = {
        run.name: run.needs
        for run in runs
        if (sets is None or run.data in sets) and (models is None or run.model in models)
    }
    wanted = {*kept, *kept.values()}
    return list({run.name: run for run in plan if run.name in wanted}.values())


def work_folder() -> Path | None:
    """In memory, if there is room for it."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    return MEMORY / "medmamba-paper-runs" if roomy else None


def commit() -> str | None:
    """Of the working tree, where git knows it."""
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude", "*"], capture_output=True)
    except FileNotFoundError:
        return None
    return found.stdout.decode().strip() or None
