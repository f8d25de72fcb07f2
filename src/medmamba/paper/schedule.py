"""What waits, what is at work, and what became of it: several runs at once on each card, in the order of the plan."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from medmamba.errors import FailedError
from medmamba.paper.backbone_runs import BackboneRun, read_backbone
from medmamba.paper.job import Unit
from medmamba.paper.launching import Launcher
from medmamba.paper.pace import Pace
from medmamba.paper.run_file import read_run
from medmamba.paper.worker import STOPPED

GRACE = 25.0  # seconds before the deadline at which runs are told to stop: to end a step and write what a resume needs
PATIENCE = 10.0  # seconds for them to do so where there is no deadline but this process is told to stop itself
POLL = 0.2
NEWS = 60.0  # seconds between two lines that say how far it is


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

    def check(self, work: Path) -> None:
        """Raise `FailedError` if a run failed; `work` is the folder of the logs."""
        if self.failed:
            names = ", ".join(self.failed)
            raise FailedError(
                f"{len(self.failed)} of the runs failed, what is written lacks them: {names}; logs in {work} say why"
            )

    def __str__(self) -> str:
        kinds = {"made": self.done, "there before": self.there, "failed": self.failed, "data absent": self.absent}
        kinds |= {"stopped": self.stopped, "waiting": self.waiting}
        return ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items() if names) or "nothing to do"


@dataclass
class Working:
    """A run or a backbone at work; `since` is of the monotonic clock, `alone` says that it has its card for itself."""

    run: Unit
    device: str
    process: subprocess.Popen[bytes]
    since: float
    alone: bool


class Schedule:
    """What waits, what is at work, and what became of it."""

    def __init__(
        self,
        launcher: Launcher,
        queue: list[Unit],
        summary: Summary,
        deadline: float | None,
        cut: bool,
        report: Callable[[str], None],
    ) -> None:
        self.launcher, self.queue, self.summary = launcher, queue, summary
        self.again: list[Unit] = []  # failed once
        self.backbones = {run.name for run in queue if isinstance(run, BackboneRun)}  # not made yet
        self.working: list[Working] = []
        self.began = time.monotonic()
        self.deadline, self.cut, self.report = deadline, cut, report
        self.told = False
        self.pace = Pace(launcher.out, launcher.work)

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
        while (device := self.free(self.launcher.per_device)) and (run := self.next(self.queue)):
            self.start(run, device, alone=False)
        while all(map(self.waits, self.queue)) and (device := self.free(1)) and (run := self.next(self.again)):
            self.start(run, device, alone=True)

    def free(self, room: int) -> str | None:
        """The card with the fewest runs, if there are fewer than `room`; none that a run has for itself."""
        busy = dict.fromkeys(self.launcher.devices, 0)
        for each in self.working:
            busy[each.device] += self.launcher.per_device if each.alone else 1
        device = min(busy, key=lambda name: busy[name])
        return device if busy[device] < room else None

    def next(self, queue: list[Unit]) -> Unit | None:
        """Take the first run that need not wait and is foreseen to end in time out of a queue."""
        for place, run in enumerate(queue):
            if self.waits(run):
                continue
            if self.cut or self.deadline is None or self.pace.seconds(run) <= self.left() - GRACE:
                return queue.pop(place)
        return None

    def waits(self, run: Unit) -> bool:
        """Whether the backbone that it starts from is not made yet."""
        return run.needs in self.backbones

    def start(self, run: Unit, device: str, *, alone: bool) -> None:
        """Start one."""
        self.report(f"start {run.name} on {device}{' again, alone' * alone}; {len(self.queue)} wait")
        self.working.append(Working(run, device, self.launcher.start(run, device), time.monotonic(), alone))

    def collect(self) -> None:
        """Note what has ended."""
        for each in list(self.working):
            if each.process.poll() is not None:
                self.working.remove(each)
                self.note(each, each.process.returncode)

    def note(self, each: Working, code: int) -> None:
        """What became of a run, by its exit code."""
        run, seconds = each.run, time.monotonic() - each.since
        if code == 0:
            self.summary.done.append(run.name)
            self.launcher.log(run).unlink(missing_ok=True)
            self.backbones.discard(run.name)
            self.report(f"done {run.name} in {seconds:.0f} s: {self.outcome(run)}")
        elif self.told or code == STOPPED:
            self.summary.stopped.append(run.name)
        elif code == 2 or each.alone:
            self.summary.failed[run.name] = lines = self.launcher.last_lines(run)
            self.report(f"FAILED {run.name} after {seconds:.0f} s (exit code {code}):\n{lines}")
            self.give_up(run)
        else:
            self.again.append(run)
            lines = self.launcher.last_lines(run)
            self.report(f"failed {run.name} after {seconds:.0f} s (exit code {code}), once more later:\n{lines}")

    def outcome(self, run: Unit) -> str:
        """What a finished run came to, in words; the pace takes it into account."""
        path = run.file(self.launcher.out)
        if isinstance(run, BackboneRun):
            entries = read_backbone(path)
            figures = f"validation AUC {entries['validation']['auc']}, the mean over {len(entries['sets'])} sets"
        else:
            entries = read_run(path)
            self.pace.learn(entries)
            tested = (f"{name} {entries['test'][name]['value']}" for name in ("accuracy", "auc"))
            figures = f"test {', '.join(tested)}"
        return f"best epoch {entries['best_epoch']} of {entries['epochs']}, {figures}"

    def give_up(self, backbone: Unit) -> None:
        """The runs that start from what failed have failed with it."""
        lost = [run for run in self.queue if run.needs == backbone.name]
        self.queue = [run for run in self.queue if run not in lost]
        for run in lost:
            self.summary.failed[run.name] = reason = f"{backbone.name}, which it starts from, failed"
            self.report(f"FAILED {run.name}: {reason}")

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
        """How far it is."""
        names = ", ".join(f"{each.run.name} ({time.monotonic() - each.since:.0f} s)" for each in self.working)
        return f"{len(self.summary.done)} done, {len(self.queue) + len(self.again)} wait; at work: {names}"
