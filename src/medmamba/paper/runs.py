"""Make the runs of a plan that are not there yet: several at once on each card, each in its own process, in order."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from medmamba.errors import InputError
from medmamba.paper.plans import SETS, Run, locate
from medmamba.paper.worker import SCHEMA, STOPPED, Job

logger = logging.getLogger(__name__)

GRACE = 25.0  # seconds before the deadline at which runs are told to stop: to end a step and write what a resume needs
STARTUP = 30.0  # seconds of a run that are no training
PATIENCE = 10.0  # seconds for them to do so where there is no deadline but this process is told to stop itself
POLL = 0.2
NEWS = 60.0  # seconds between two lines that say how far it is
LAST_LINES = 5
WORKER = ("-m", "medmamba.paper.worker")


def is_finished(run: Run, out: Path) -> bool:
    """Whether a run with these very settings is among the results, with its scores."""
    from medmamba.training.recipe import load_recipe

    path = out / "runs" / f"{run.name}.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    recipe = json.loads(json.dumps(load_recipe(run.recipe, epochs=run.epochs).to_dict()))
    wanted = {
        "schema": SCHEMA,
        "data": run.data,
        "model": run.model,
        "model_args": dict(run.model_args),
        "recipe_settings": recipe,
        "image_size": [run.image_size, run.image_size],
        "seed": run.seed,
    }
    return all(entries.get(name) == value for name, value in wanted.items()) and path.with_suffix(".npz").is_file()


@dataclass
class Summary:
    """How a plan fared, by the names of its runs.

    Attributes:
        there: Were finished before.
        done: Made now.
        failed: With the last lines of each.
        absent: Their data is not there.
        stopped: Told to stop at the deadline; they go on when started again.
        waiting: Not started for want of time.
    """

    there: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = {"made": self.done, "there before": self.there, "failed": self.failed, "data absent": self.absent}
        kinds |= {"stopped": self.stopped, "waiting": self.waiting}
        return ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items() if names) or "nothing to do"


def run_missing(
    plan: Sequence[Run],
    data_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    devices: Sequence[str] = ("cuda:0",),
    per_device: int = 2,
    deadline_seconds: float | None = None,
    *,
    cut: bool = False,
    work: str | os.PathLike[str] | None = None,
    keep: str | os.PathLike[str] | None = None,
    commit: str | None = None,
    report: Callable[[str], None] = logger.info,
) -> Summary:
    """Make the runs of a plan that `out` lacks, in its order, each in a process of its own.

    A run that fails is reported and does not stop the others; unless its request was wrong it is tried once more at the
    end, alone on its card. Kernels are compiled by the first processes and kept in the user's cache for the rest.

    Args:
        plan: Which runs.
        data_folder: Where their data lies.
        out: Results go to `runs` in it.
        devices: As for `medmamba train`, each a single one.
        per_device: Runs at once on each; they share its memory, and the cores of this machine.
        deadline_seconds: From now. A run that would not end by then, judged by those that have ended, is not started;
            those at work shortly before are stopped so that they can go on later. None for no deadline.
        cut: Start runs that would not end by the deadline as well: worth it if `work` is kept until the next call.
        work: Folder for unfinished trainings and logs, some hundred MB a run at work; `work` in `out` by default.
        keep: Folder for the trained models, each under its run's name; a run without a model there is made again. None
            throws them away.
        commit: Of this code, to be recorded.
        report: Takes lines on the progress.

    Raises:
        InputError: Devices or numbers are not possible.
    """
    if not devices or per_device < 1:
        raise InputError(f"{len(devices)} devices with {per_device} runs each run nothing; give 1 or more of both")
    data, out = Path(data_folder), Path(out)
    summary, queue = Summary(), []
    for run in plan:
        if is_finished(run, out) and (keep is None or (Path(keep) / run.name).is_dir()):
            summary.there.append(run.name)
        elif not _there(data, run):
            summary.absent.append(run.name)
        else:
            queue.append(run)
    report(f"{len(queue)} runs to make, {len(summary.there)} are there, the data of {len(summary.absent)} is absent")
    place = _Place(data, out, Path(work) if work else out / "work", tuple(devices), per_device, commit, keep)
    _Schedule(place, queue, summary, deadline_seconds, cut, report).run()
    report(str(summary))
    return summary


def _there(data: Path, run: Run) -> bool:
    try:
        locate(data, run.data)
    except InputError:
        return False
    return True


@dataclass(frozen=True)
class _Place:
    """Where runs are made."""

    data: Path
    out: Path
    work: Path
    devices: tuple[str, ...]
    per_device: int
    commit: str | None
    keep: str | os.PathLike[str] | None

    def start(self, run: Run, device: str) -> subprocess.Popen[bytes]:
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
        folders |= {} if self.keep is None else {"keep": Path(self.keep)}
        paths = {name: os.path.abspath(path) for name, path in folders.items()}
        job = Job(run, device=device, workers=threads if kind == "cuda" else 0, commit=self.commit, **paths)
        log = self.log(run)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            command = [sys.executable, *WORKER, job.to_json()]
            return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def log(self, run: Run) -> Path:
        return self.work / f"{run.name}.log"

    def last_lines(self, run: Run) -> str:
        """The end of a worker's log."""
        lines = self.log(run).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(line[:300] for line in lines[-LAST_LINES:])


@dataclass
class _Working:
    run: Run
    device: str
    process: subprocess.Popen[bytes]
    since: float
    alone: bool


class _Schedule:
    """What waits, what is at work, and what became of it."""

    def __init__(
        self,
        place: _Place,
        queue: list[Run],
        summary: Summary,
        deadline: float | None,
        cut: bool,
        report: Callable[[str], None],
    ) -> None:
        self.place, self.queue, self.summary = place, queue, summary
        self.again: list[Run] = []  # failed once
        self.working: list[_Working] = []
        self.began = time.monotonic()
        self.deadline, self.cut, self.report = deadline, cut, report
        self.told = False
        self.pace = _Pace(place)

    def run(self) -> None:
        """Until there is nothing left to do or no time to do it."""
        news = self.began
        try:
            while True:
                self.collect()
                if not self.told and self.left() <= GRACE:
                    self.tell()
                if not self.told:
                    self.fill()
                if not self.working:
                    break
                if self.left() <= 0:
                    self.report(f"deadline: killing {len(self.working)} runs")
                    break
                if time.monotonic() - news >= NEWS:
                    news = time.monotonic()
                    self.report(self.news())
                time.sleep(POLL)
        finally:  # also when this process is told to stop
            self.end()
        self.summary.waiting += [run.name for run in (*self.queue, *self.again)]

    def left(self) -> float:
        """Seconds until the deadline."""
        return float("inf") if self.deadline is None else self.began + self.deadline - time.monotonic()

    def fill(self) -> None:
        """Start what may start."""
        while (device := self.free(self.place.per_device)) and (run := self.next(self.queue)):
            self.start(run, device, alone=False)
        while not self.queue and (device := self.free(1)) and (run := self.next(self.again)):
            self.start(run, device, alone=True)

    def free(self, room: int) -> str | None:
        """The card with the fewest runs, if there are fewer than `room`; none that a run has for itself."""
        busy = dict.fromkeys(self.place.devices, 0)
        for each in self.working:
            busy[each.device] += self.place.per_device if each.alone else 1
        device = min(busy, key=lambda name: busy[name])
        return device if busy[device] < room else None

    def next(self, queue: list[Run]) -> Run | None:
        """Take the first run that is foreseen to end in time out of a queue."""
        for place, run in enumerate(queue):
            if self.cut or self.deadline is None or self.pace.seconds(run) <= self.left() - GRACE:
                return queue.pop(place)
        return None

    def start(self, run: Run, device: str, *, alone: bool) -> None:
        self.report(f"start {run.name} on {device}{' again, alone' * alone}; {len(self.queue)} wait")
        self.working.append(_Working(run, device, self.place.start(run, device), time.monotonic(), alone))

    def collect(self) -> None:
        """Note what has ended."""
        for each in list(self.working):
            if each.process.poll() is not None:
                self.working.remove(each)
                self.note(each, each.process.returncode)

    def note(self, each: _Working, code: int) -> None:
        run, seconds = each.run, time.monotonic() - each.since
        if code == 0:
            self.summary.done.append(run.name)
            self.place.log(run).unlink(missing_ok=True)
            self.report(f"done {run.name} in {seconds:.0f} s: {self.pace.learn(run)}")
        elif self.told or code == STOPPED:
            self.summary.stopped.append(run.name)
        elif code == 2 or each.alone:
            self.summary.failed[run.name] = lines = self.place.last_lines(run)
            self.report(f"FAILED {run.name} after {seconds:.0f} s (exit code {code}):\n{lines}")
        else:
            self.again.append(run)
            lines = self.place.last_lines(run)
            self.report(f"failed {run.name} after {seconds:.0f} s (exit code {code}), once more later:\n{lines}")

    def tell(self) -> None:
        """Tell all at work to stop, and start nothing more."""
        self.told = True
        if self.working:
            self.report(f"the deadline is near: telling {len(self.working)} runs to stop")
        for each in self.working:
            each.process.terminate()

    def end(self) -> None:
        """Nothing is left at work, whatever happened."""
        if not self.told:
            self.tell()
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until and any(each.process.poll() is None for each in self.working):
                time.sleep(POLL)
        for each in self.working:
            each.process.kill()
            each.process.wait()
            self.summary.stopped.append(each.run.name)
        self.working = []

    def news(self) -> str:
        names = ", ".join(f"{each.run.name} ({time.monotonic() - each.since:.0f} s)" for each in self.working)
        return f"{len(self.summary.done)} done, {len(self.queue) + len(self.again)} wait; at work: {names}"


class _Pace:
    """How long a run takes, from those that are finished: seconds a training image, for each model and size."""

    def __init__(self, place: _Place) -> None:
        self.place = place
        self.seen: dict[tuple[str, str, int], list[float]] = {}
        for path in sorted((place.out / "runs").rglob("*.json")):
            self._add(json.loads(path.read_text(encoding="utf-8")))

    def learn(self, run: Run) -> str:
        """Take a run that has just been finished into account; its figures in words."""
        entries = json.loads((self.place.out / "runs" / f"{run.name}.json").read_text(encoding="utf-8"))
        self._add(entries)
        test = entries["test"]
        figures = (f"{name} {test[name]['value']}" for name in ("accuracy", "auc"))
        return f"best epoch {entries['best_epoch']} of {entries['epochs']}, test {', '.join(figures)}"

    def _add(self, entries: dict[str, Any]) -> None:
        key = entries["model"], entries["recipe"], entries["image_size"][0]
        self.seen.setdefault(key, []).append(entries["train_seconds"] / entries["train_images"])

    def seconds(self, run: Run) -> float:
        """Expected, of what is left of it; 0 where nothing like it was seen."""
        from medmamba.training.history import read_history

        paces = self.seen.get((run.model, run.recipe, run.image_size))
        if not paces or run.data not in SETS:
            return 0.0
        done = len(read_history(self.place.work / run.name / "history.csv"))
        left = 1 - done / _epochs(run.recipe, run.epochs)
        return STARTUP + left * SETS[run.data].train * sum(paces) / len(paces)


@cache
def _epochs(recipe: str, epochs: int | None) -> int:
    from medmamba.training.recipe import load_recipe

    return load_recipe(recipe, epochs=epochs).epochs
