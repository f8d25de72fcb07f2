"""Commands of `medmamba` in processes of their own, to be disturbed from outside, and what is left of their folders.

Each command runs whole, as it does from a terminal, in a fork of a process that has imported all it needs but computed
nothing: it begins in a moment, and is a process of its own that can be killed. Linux alone.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pickle
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: two runs at a time share two cores
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

DATA = "phantoms:70"
EPOCHS = 4
STEPS = 4  # in an epoch: 40 images in batches of 10
SETTINGS = ("--model", "medmamba_nano", "--recipe", "quick", "--image-size", "32", "32", "--batch-size", "10")
NEEDED = (
    *("lightning", "matplotlib.pyplot", "onnxruntime", "onnxscript", "pytorch_grad_cam", "sklearn.linear_model"),
    *(f"medmamba.{room}" for room in ("calibration", "cli", "ensembling", "evaluation", "explain", "export")),
    "medmamba.training.run",
)
PATIENCE = 300.0  # seconds after which a command counts as hanging
LOOK = 0.002  # seconds between two looks at a command


def warm() -> None:
    """Import what the commands will need; nothing is computed, so that forks find no threads."""
    for name in NEEDED:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


# processes


@dataclass
class Command:
    """A command at work.

    Attributes:
        pid: Its process.
        log: Where both of its streams go.
        code: Its exit code; negative for the signal that ended it; None while it is at work.
    """

    pid: int
    log: Path
    code: int | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def output(self) -> str:
        """All that it said so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def last_line(self) -> str:
        """The last that it said, for a report."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else "nothing was said"

    def ended(self) -> bool:
        """Whether it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def wait(self, until: Callable[[], bool] = lambda: False, *, seconds: float = PATIENCE) -> bool:
        """Until it ends, something is so or the time is over; whether it has ended."""
        last = time.monotonic() + seconds
        while not self.ended() and not until() and time.monotonic() < last:
            time.sleep(LOOK)
        return self.ended()

    def send(self, number: int) -> None:
        """A signal, unless it has ended."""
        if not self.ended():
            os.kill(self.pid, number)

    def finish(self) -> int:
        """Its exit code once it has ended. One that hangs is killed, and so has -9."""
        if not self.wait():
            self.send(signal.SIGKILL)
            self.wait()
        assert self.code is not None
        return self.code


def start(arguments: list[str], log: Path, change: Callable[[], None] | None = None) -> Command:
    """Run `medmamba ARGUMENTS` in a fork, after a change to the fork."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Command(pid, log)
    code = 1
    try:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored
        sys.argv = ["medmamba", *arguments]
        if change is not None:
            change()
        from medmamba.cli import main

        code = main(arguments)
    except SystemExit as reason:
        code = reason.code if isinstance(reason.code, int) else 1
    except BaseException:  # as Python ends a program, for it is the end of this one
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a fork, so that this process computes nothing; None if the fork died."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(function(*arguments), pipe)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(content) if content else None  # of our own fork


# runs


def training(run: Path, *more: str) -> list[str]:
    """The arguments of the one training that is disturbed."""
    settings = [*SETTINGS, "--epochs", str(EPOCHS), "--device", "cpu"]
    return ["train", DATA, "--out", str(run), *settings, *more]


@dataclass(frozen=True)
class Reference:
    """The undisturbed run.

    Attributes:
        run: Its folder.
        seconds: How long it took.
        digest: Of its final weights.
        history: Its `history.csv`.
        digests: Of the weights of each epoch that was the best when it ended, by epoch.
    """

    run: Path
    seconds: float
    digest: str
    history: str
    digests: dict[int, str]


def weights_noted(run: Path, notes: Path) -> None:
    """From now on, the digest of the weights in a run's folder is noted after each epoch."""
    from medmamba.training.keeper import Keeper

    ended = Keeper.on_train_epoch_end

    def note(self: Keeper, *arguments: Any) -> None:
        ended(self, *arguments)
        found = state(run)
        with notes.open("a") as file:
            file.write(json.dumps([found.best_epoch, found.digest]) + "\n")

    Keeper.on_train_epoch_end = note  # type: ignore[method-assign]


def undisturbed(folder: Path) -> Reference:
    """The run twice, side by side; fails if the two differ, since nothing could be told then."""
    folder.mkdir(parents=True)
    start(training(folder / "first"), folder / "first.txt").finish()  # compiles the scan where that is still to be done
    shutil.rmtree(folder / "first")
    notes = folder / "notes"
    plain = start(training(folder / "run"), folder / "run.txt")
    noted = start(training(folder / "noted"), folder / "noted.txt", lambda: weights_noted(folder / "noted", notes))
    codes, seconds = [plain.finish()], time.monotonic() - plain.began
    codes.append(noted.finish())
    if codes != [0, 0]:
        raise SystemExit(f"the undisturbed run failed: {plain.last_line}; {noted.last_line}")
    one, two = (ask(state, folder / name) for name in ("run", "noted"))
    if (one.digest, one.history) != (two.digest, two.history):
        raise SystemExit("two undisturbed runs differ: what a disturbed one comes to cannot be judged")
    digests = dict(map(json.loads, notes.read_text().splitlines()))
    return Reference(folder / "run", seconds, one.digest, one.history, digests)


# what is left of a folder


@dataclass(frozen=True)
class State:
    """What a folder holds.

    Attributes:
        bundle: `none`, `readable`, or why it cannot be read.
        best_epoch: As its description says.
        digest: Of its tensors.
        history: Of `history.csv`, empty if there is none.
        saved: Epochs that the run's log says were finished and saved.
        ended: How the description says that the run ended.
        resumable: Whether there is anything to resume from.
        left: Temporary files of a writing that did not end.
    """

    bundle: str
    best_epoch: int | None
    digest: str
    history: str
    saved: int
    ended: str
    resumable: bool
    left: tuple[str, ...]


def state(run: Path) -> State:
    """Look at a run's folder as another program would."""
    import torch

    from medmamba.bundle import load_bundle, load_model

    bundle, best, digest, ended = "none", None, "", ""
    if (run / "bundle.json").exists():
        try:
            described, tensors = load_bundle(run), load_model(run).state_dict()
            while described != (now := load_bundle(run)):  # another was written meanwhile: which one is it of?
                described, tensors = now, load_model(run).state_dict()
            bad = [
                name for name, each in tensors.items() if each.is_floating_point() and not torch.isfinite(each).all()
            ]
            bundle = f"{bad[0]} is not finite" if bad else "readable"
            best, digest = described.provenance["best_epoch"], digest_of(tensors)
            ended = described.provenance["ended"]
        except Exception as reason:  # whatever a reader would have met
            bundle = f"{type(reason).__name__}: {reason}".splitlines()[0]
    history, log = run / "history.csv", run / "log.txt"
    told = log.read_text(errors="replace") if log.exists() else ""
    names = {path.name for path in run.iterdir()} if run.is_dir() else set()
    return State(
        bundle,
        best,
        digest,
        history.read_text() if history.exists() else "",
        max(map(int, re.findall(r" time of epoch (\d+):", told)), default=0),
        ended,
        any(name.startswith("resume") for name in names),
        tuple(sorted(name for name in names if name.startswith(".") or name.endswith(".new"))),
    )


def digest_of(tensors: dict[str, Any]) -> str:
    """SHA-256 of tensors by name."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def broken_files(folder: Path) -> list[str]:
    """Results that are there and cannot be read, in words."""
    import numpy as np
    from PIL import Image

    import medmamba

    readers: dict[str, Callable[[Path], Any]] = {
        ".json": lambda path: json.loads(path.read_text()),
        ".csv": lambda path: path.read_text().index("\n", -1),
        ".npz": lambda path: list(np.load(path, allow_pickle=False).items()),
        ".npy": lambda path: np.load(path, allow_pickle=False),
        ".png": lambda path: Image.open(path).load(),
        ".html": lambda path: path.read_text().index("</html>"),
        ".onnx": lambda path: medmamba.load(path),
    }
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in readers and not path.name.startswith("."):
            try:
                readers[path.suffix](path)
            except Exception as reason:  # each format has its own errors
                found.append(f"{path.name} ({type(reason).__name__}: {reason})".splitlines()[0])
    return found
