"""Where runs are made: starts a worker on a card, and keeps what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from medmamba.paper.job import Job, Unit

LAST_LINES = 5
WORKER = ("-m", "medmamba.paper.worker")


@dataclass(frozen=True)
class Launcher:
    """Starts the workers of a plan.

    Attributes:
        data: Folder of data.
        out: Folder of the results.
        work: Folder for unfinished trainings and logs.
        devices: As for `medmamba train`, each a single one.
        per_device: Runs at once on each.
        commit: Of this code, to be recorded.
        keep: Folder for the trained models; None throws them away.
    """

    data: Path
    out: Path
    work: Path
    devices: tuple[str, ...]
    per_device: int
    commit: str | None
    keep: Path | None

    def start(self, run: Unit, device: str) -> subprocess.Popen[bytes]:
        """A worker; what it says goes to a log beside its folder of work."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = max(1, cores // (len(self.devices) * self.per_device))
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
        kind, _, index = device.partition(":")
        if kind == "cuda" and index:  # the worker sees this card alone, so that it may go on on another one later
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(index)] if visible else index
            device = "cuda"
        folders = {"data": self.data, "out": self.out, "work": self.work}
        folders |= {} if self.keep is None else {"keep": self.keep}
        paths = {name: os.path.abspath(path) for name, path in folders.items()}
        job = Job(run, device=device, workers=threads if kind == "cuda" else 0, commit=self.commit, **paths)
        log = self.log(run)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            command = [sys.executable, *WORKER, job.to_json()]
            return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def log(self, run: Unit) -> Path:
        """Where a worker's words are."""
        return self.work / f"{run.name}.log"

    def last_lines(self, run: Unit) -> str:
        """The end of a worker's log."""
        lines = self.log(run).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(line[:300] for line in lines[-LAST_LINES:])
