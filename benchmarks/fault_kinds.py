"""The faults that `faults.py` makes, one function each, and how what comes of them is judged.

Each takes a place for its files and random numbers, disturbs one command, and says what was seen. None means that the
command had ended before it could be disturbed: then it is tried again at another moment.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fault_injection import larger_disk, lost_gpu_at, memory_for, nan_at, own_disk, permissions_hold
from fault_runs import (
    DATA,
    EPOCHS,
    PATIENCE,
    STEPS,
    Command,
    Reference,
    State,
    ask,
    broken_files,
    start,
    state,
    training,
)

SUSPECT = "Traceback (most recent call last)"
AGAIN = 0.25  # share of the runs that are killed once more after they were resumed
GRACE = 0.5  # seconds between SIGTERM and SIGKILL, at most
ENOUGH = 500_000_000  # bytes of a disk that is not full


@dataclass(frozen=True)
class Try:
    """What a fault is given.

    Attributes:
        folder: For its files, empty.
        rng: All that it draws.
        reference: The undisturbed run.
        seconds: How long each verb takes undisturbed, by name.
    """

    folder: Path
    rng: np.random.Generator
    reference: Reference
    seconds: dict[str, float]

    @property
    def run(self) -> Path:
        """The run that is disturbed."""
        return self.folder / "run"

    def start(self, arguments: list[str], change: Callable[[], None] | None = None) -> Command:
        """A command whose output has a file of its own."""
        return start(arguments, self.folder / f"command-{len(list(self.folder.glob('command-*')))}.txt", change)

    def reach(self, command: Command, verb: str = "train") -> bool:
        """Wait until a random moment of a command; whether it is still at work then.

        If it is not, its own length is the one to draw from next time: the machine is quicker now than it was.
        """
        if command.wait(seconds=self.rng.uniform(0, self.seconds[verb])):
            self.seconds[verb] = min(self.seconds[verb], time.monotonic() - command.began)
            return False
        return True


@dataclass(frozen=True)
class Outcome:
    """What came of one try: what was seen, each thing that must not be, and whether it could be tried here."""

    seen: str
    wrong: tuple[str, ...] = ()
    tried: bool = True

    @property
    def survived(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong


# judging


def wrong_with(found: State, reference: Reference) -> list[str]:
    """What must not be in the folder of a run that was disturbed."""
    wrong = []
    if found.bundle not in ("none", "readable"):
        wrong.append(f"bundle unreadable ({found.bundle})")
    if found.bundle == "readable" and found.digest != reference.digests.get(found.best_epoch or 0):
        wrong.append(f"the weights are not those of the epoch that the description names ({found.best_epoch})")
    if found.bundle == "none" and found.saved:
        wrong.append(f"no bundle after {found.saved} finished epochs")
    return wrong


def resumed(given: Try, before: State, *more: str) -> Outcome:
    """Resume a run until it ends, and compare it with the undisturbed one."""
    wrong = wrong_with(before, given.reference)
    command = given.start(training(given.run, "--resume", *more))
    seen, code = "nothing was left to do", command.finish()
    if code == 2 and not before.resumable and not before.saved:
        shutil.rmtree(given.run, ignore_errors=True)  # as its sentence says
        command = given.start(training(given.run))
        seen, code = "nothing to keep yet, started again", command.finish()
    elif found := re.search(r"resuming after epoch (\d+)", command.output):
        seen = f"resumed after epoch {found[1]}"
        if int(found[1]) < before.saved:
            wrong.append(f"{before.saved} epochs were finished, and it went on after {found[1]}")
    if code:
        return Outcome("not resumed", (*wrong, f"the resumed run ended with {code}: {command.last_line}"))
    return Outcome(seen, (*wrong, *not_the_same(given, ask(state, given.run))))


def not_the_same(given: Try, after: State) -> list[str]:
    """In what a finished run differs from the undisturbed one."""
    wrong = [] if after.bundle == "readable" else [f"bundle unreadable at the end ({after.bundle})"]
    if after.digest != given.reference.digest:
        wrong.append("the final weights differ from an undisturbed run's")
    if after.history != given.reference.history:
        wrong.append("history.csv differs from an undisturbed run's")
    if after.ended != "finished":
        wrong.append(f"the description of the finished run says {after.ended!r}")
    if not (given.run / "curves.png").exists():
        wrong.append("the finished run has no curves.png")
    if after.left:
        wrong.append(f"{len(after.left)} temporary files are left ({after.left[0]})")
    return wrong


def stopped(given: Try, command: Command, words: str, codes: Sequence[int] = (1,)) -> Outcome:
    """Judge how a command ended by itself, and then what comes of the run."""
    code, output = command.finish(), command.output
    wrong = [] if code in codes else [f"it ended with {code}: {command.last_line}"]
    if SUSPECT in output:
        wrong.append(f"a traceback instead of a sentence: {command.last_line}")
    elif not re.search(words, output, re.IGNORECASE):
        wrong.append(f"no word of it: {command.last_line}")
    end = resumed(given, ask(state, given.run))
    return Outcome(end.seen, (*wrong, *end.wrong))


# of training


def kill(given: Try) -> Outcome | None:
    """SIGKILL at a random moment; a quarter of the runs once more while they are resumed."""
    command = given.start(training(given.run))
    if not given.reach(command):
        return None
    command.send(signal.SIGKILL)
    command.finish()
    before = ask(state, given.run)
    if before.resumable and given.rng.random() < AGAIN:
        command = given.start(training(given.run, "--resume"))
        if given.reach(command):
            command.send(signal.SIGKILL)
        command.finish()
        first, before = wrong_with(before, given.reference), ask(state, given.run)
        end = resumed(given, before)
        return Outcome(f"killed twice, {end.seen}", (*first, *end.wrong))
    return resumed(given, before)


def told(given: Try, number: signal.Signals, words: str) -> Outcome | None:
    """A signal that asks a run to end, at a random moment."""
    command = given.start(training(given.run))
    if not given.reach(command):
        return None
    command.send(number)
    command.finish()
    if command.code == 0 and "finished after" in command.output:
        return None  # it came too late
    found = ask(state, given.run)
    if command.code == -number and (not found.resumable or found.saved == EPOCHS):
        return resumed(given, found)  # nothing had begun, or nothing was left but a picture and a sentence
    return stopped(given, command, words)


def terminate(given: Try) -> Outcome | None:
    """SIGTERM, as a cluster sends it."""
    return told(given, signal.SIGTERM, "SIGTERM")


def interrupt(given: Try) -> Outcome | None:
    """SIGINT, as Ctrl-C sends it."""
    return told(given, signal.SIGINT, "Ctrl-C|stopped")


def short_grace(given: Try) -> Outcome | None:
    """SIGTERM, and SIGKILL at most half a second later."""
    command = given.start(training(given.run))
    if not given.reach(command):
        return None
    command.send(signal.SIGTERM)
    command.wait(seconds=given.rng.uniform(0, GRACE))
    command.send(signal.SIGKILL)
    command.finish()
    return resumed(given, ask(state, given.run))


def read_by_others(given: Try) -> Outcome | None:
    """Another process reads the bundle again and again while it is trained."""
    command = given.start(training(given.run))
    readings, wrong = ask(read_on, given.run, command, given.reference)
    command.finish()
    return Outcome(f"read {readings // 10 * 10} times or more", tuple(wrong[:1]))


def read_on(run: Path, command: Command, reference: Reference) -> tuple[int, list[str]]:
    """Read a bundle until its run has ended: how often, and what was wrong."""
    readings, wrong, last = 0, list[str](), time.monotonic() + PATIENCE
    while "finished after" not in command.output and time.monotonic() < last:
        found = state(run)
        if found.bundle != "none":
            readings += 1
            wrong += wrong_with(found, reference)
    return readings, wrong


def full_disk(given: Try) -> Outcome | None:
    """A disk that is too small; after the run has ended there is room again."""
    disk = given.folder / "disk"
    disk.mkdir()
    needed = sum(path.stat().st_size for path in given.reference.run.rglob("*") if path.is_file())
    try:
        own_disk(disk, int(given.rng.uniform(0.05, 2.5) * needed))
    except OSError as reason:
        return Outcome(f"not tried: no file system of its own can be mounted here ({reason})", tried=False)
    on_disk = Try(disk, given.rng, given.reference, given.seconds)
    command = start(training(on_disk.run), given.folder / "full.txt")
    if command.finish() == 0:
        return None
    larger_disk(disk, ENOUGH)
    return stopped(on_disk, command, "space|disk", codes=(1,) if ask(state, on_disk.run).resumable else (1, 2))


def read_only(given: Try) -> Outcome | None:
    """The run's folder becomes read-only; it is mended after the run has ended."""
    command = given.start(training(given.run), permissions_hold)
    if not given.reach(command) or command.wait(given.run.is_dir):
        return None if command.code == 0 else Outcome("ended too early", (command.last_line,))
    given.run.chmod(0o555)
    code = command.finish()
    given.run.chmod(0o755)
    if code == 0:
        return None  # nothing was left to write
    return stopped(given, command, "permission|read-only|written", codes=(1, 2))


def killed_worker(given: Try) -> Outcome | None:
    """One of two processes that read images is killed, as by a machine that has no memory left."""
    command = given.start(training(given.run, "--workers", "2"))
    if not given.reach(command):
        return None
    command.wait(lambda: bool(workers(command.pid)))
    if not (found := workers(command.pid)):
        return None
    os.kill(found[int(given.rng.integers(len(found)))], signal.SIGKILL)
    if command.finish() == 0:
        return None  # it had done its work
    return stopped(given, command, "worker|reads? images|process")


def workers(pid: int) -> list[int]:
    """Processes that a process has forked."""
    try:
        children = [
            int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()
        ]
        return [each for each in children if b"resource_tracker" not in Path(f"/proc/{each}/cmdline").read_bytes()]
    except OSError:  # one has ended meanwhile
        return []


def damaged_checkpoint(given: Try) -> Outcome | None:
    """The last checkpoint of a run that was killed in its fourth epoch is damaged."""
    command = given.start(training(given.run))
    if command.wait(lambda: "time of epoch 3" in command.output):
        return None
    command.send(signal.SIGKILL)
    command.finish()
    path = given.run / "resume.ckpt"
    content = bytearray(path.read_bytes())
    kind = ("cut off", "a flipped byte", "empty", "missing", "zeros in it")[int(given.rng.integers(5))]
    at = int(given.rng.integers(len(content)))
    if kind == "cut off":
        del content[at:]
    elif kind == "a flipped byte":
        content[at] ^= 255
    elif kind == "empty":
        content.clear()
    elif kind == "zeros in it":
        content[at : at + 4096] = bytes(len(content[at : at + 4096]))
    path.unlink()
    if kind != "missing":
        path.write_bytes(content)
    before = ask(state, given.run)
    end = resumed(given, State(**{**vars(before), "saved": before.saved - 1}))  # the one before is what is promised
    return Outcome(f"{kind}: {end.seen}", end.wrong)


def not_a_number(given: Try) -> Outcome | None:
    """All weights are NaN at step 5, the first of the second epoch."""
    command = given.start(training(given.run), lambda: nan_at(STEPS + 1))
    return stopped(given, command, f"step {STEPS + 1}\\b.*keeps the weights of epoch 1")


def lost_gpu(given: Try) -> Outcome | None:
    """A step fails with CUDA's error, at a random step."""
    number = int(given.rng.integers(1, EPOCHS * STEPS + 1))
    return stopped(given, given.start(training(given.run), lambda: lost_gpu_at(number)), "GPU|CUDA")


def no_memory(given: Try) -> Outcome | None:
    """Whole batches do not fit into memory; resumed in parts that do."""
    command = given.start(training(given.run), lambda: memory_for(5))
    wrong = [] if command.finish() == 1 else [f"it ended with {command.code}: {command.last_line}"]
    if SUSPECT in command.output or "raise accumulate" not in command.output:
        wrong.append(f"no advice: {command.last_line}")
    command = given.start(training(given.run, "--resume", "--accumulate", "2"), lambda: memory_for(5))
    return Outcome("resumed with --accumulate 2", (*wrong, *ended_well(given, command)))


def halved(given: Try) -> Outcome | None:
    """Batches do not fit into memory, with --halve: the run goes on in smaller parts by itself."""
    most = int(given.rng.integers(2, 10))
    command = given.start(training(given.run, "--halve"), lambda: memory_for(most))
    return Outcome("went on in smaller parts", tuple(ended_well(given, command)))


def ended_well(given: Try, command: Command) -> list[str]:
    """What is wrong with a run that must have ended well, with other weights than the undisturbed one."""
    if command.finish():
        return [f"it ended with {command.code}: {command.last_line}"]
    found = ask(state, given.run)
    wrong = [] if found.bundle == "readable" else [f"bundle unreadable ({found.bundle})"]
    if found.history.count("\n") != EPOCHS + 1:
        wrong.append(f"history.csv has not the rows of {EPOCHS} epochs")
    return wrong


# of other verbs


def arguments_of(verb: str, folder: Path) -> list[str]:
    """The arguments of a verb on the run in a folder, which has a second run beside it."""
    run = str(folder / "run")
    return {
        "calibrate": ["calibrate", run, DATA, "--device", "cpu"],
        "ensemble": ["ensemble", run, str(folder / "second"), "--out", str(folder / "both")],
        "export": ["export", run, "--images", "4"],
        "evaluate": ["evaluate", run, DATA, "--resamples", "200", "--device", "cpu"],
        "explain": ["explain", run, str(folder / "images"), "--device", "cpu"],
    }[verb]


def finished_runs(folder: Path, reference: Reference, second: Path) -> None:
    """What the verbs work on: two finished runs, without what a resume needs, and a few pictures."""
    from PIL import Image

    from medmamba.data.phantoms import phantom

    for name, run in {"run": reference.run, "second": second}.items():
        shutil.copytree(run, folder / name, ignore=shutil.ignore_patterns("resume*"))
    (folder / "images").mkdir()
    for index in range(3):
        Image.fromarray(phantom(index)[0]).save(folder / "images" / f"{index}.png")


def killed_verb(given: Try, verb: str) -> Outcome | None:
    """SIGKILL at a random moment of a verb that writes; then it is run again."""
    finished_runs(given.folder, given.reference, given.reference.run.with_name("second"))
    command = given.start(arguments_of(verb, given.folder))
    if not given.reach(command, verb):
        return None
    command.send(signal.SIGKILL)
    command.finish()
    wrong = wrong_with(ask(state, given.run), given.reference) + ask(broken_files, given.folder)
    command = given.start(arguments_of(verb, given.folder))
    if command.finish():
        wrong.append(f"run again, it ended with {command.code}: {command.last_line}")
    after = ask(state, given.run)
    wrong += wrong_with(after, given.reference) + ask(broken_files, given.folder)
    left = [path.name for path in given.folder.rglob(".*") if path.is_file()] + list(given.folder.rglob("*.new"))
    return Outcome("run again" + f", {len(left)} temporary files left" * bool(left), tuple(wrong))
