"""Make the runs behind the paper's tables on the cards of this machine, several at once, until a deadline.

    python benchmarks/paper_runs.py DATA --out benchmarks/results/paper [--devices 4] [--per-device 3] [--deadline 540]
        [--only table7] [--cut] [--commit HASH]

Runs that are among the results already are not made again. With `--cut` runs are started although they will not end in
time; they go on with the next call, if the folder of work is still there.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from medmamba.paper.plans import PLANS
from medmamba.paper.runs import run_missing

MEMORY = Path("/dev/shm")  # a folder in memory: each run writes some hundred MB again and again
ROOM = 16 * 1024**3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with medmnist/*.npz and busi256")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "paper")
    parser.add_argument("--work", type=Path, default=None, help="by default in memory where there is room, else in OUT")
    parser.add_argument("--devices", type=int, default=1, help="CUDA devices; 0 for the processor")
    parser.add_argument("--per-device", type=int, default=2)
    parser.add_argument("--deadline", type=float, default=None, help="seconds")
    parser.add_argument("--only", nargs="*", choices=tuple(PLANS), default=["all"])
    parser.add_argument("--sets", nargs="*", default=None, help="only runs on these data sets")
    parser.add_argument("--models", nargs="*", default=None, help="only runs of these models")
    parser.add_argument("--cut", action="store_true", help="start runs that will not end in time as well")
    parser.add_argument("--keep", type=Path, default=None, help="folder for the trained models, which the figures need")
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that workers are ended
    plan = [
        run
        for name in arguments.only
        for run in PLANS[name]()
        if (arguments.sets is None or run.data in arguments.sets)
        and (arguments.models is None or run.model in arguments.models)
    ]
    began = time.monotonic()

    def report(line: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {line}", file=sys.stderr, flush=True)

    summary = run_missing(
        list({run.name: run for run in plan}.values()),
        arguments.data,
        arguments.out,
        [f"cuda:{index}" for index in range(arguments.devices)] or ["cpu"],
        arguments.per_device,
        arguments.deadline,
        cut=arguments.cut,
        work=arguments.work or work_folder(),
        keep=arguments.keep,
        commit=arguments.commit or commit(),
        report=report,
    )
    return 1 if summary.failed else 0


def work_folder() -> Path | None:
    """In memory, if there is room for it."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    return MEMORY / "medmamba-paper-runs" if roomy else None


def commit() -> str | None:
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude", "*"], capture_output=True)
    except FileNotFoundError:
        return None
    return found.stdout.decode().strip() or None


if __name__ == "__main__":
    sys.exit(main())
