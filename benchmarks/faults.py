"""What a training run and other commands survive: each fault made many times, in one table.

    python benchmarks/faults.py [--only kill,terminate] [--tries 10] [--seed 0] [--out FILE] [--keep FOLDER]
    python benchmarks/faults.py --page      (measures nothing: docs/reference/faults.md, from the results files)

The run is medmamba_nano on phantoms, four epochs of four steps, on the processor. It is run twice undisturbed; the two
must be equal. Each try disturbs a run of the same seed once (some twice), lets it go on until it ends, and compares its
weights, history and description with the undisturbed one's, bit for bit. All that a try draws comes from the seed, the
fault and the number of the try. Linux alone. All faults take about half an hour on two cores; exit code 1 if a try was
lost.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import fault_kinds as kinds
import numpy as np
from fault_kinds import Outcome, Try, arguments_of, finished_runs
from fault_runs import EPOCHS, STEPS, Reference, start, training, undisturbed, warm

RESULTS = Path(__file__).parent / "results" / "faults.json"
VERBS = ("calibrate", "ensemble", "export", "evaluate", "explain")
ROW = ("commit", "changed", "processor", "seed")  # of which each row of the table has its own
DRAWS = 20  # moments drawn for one try, where a command ends before it is disturbed
SHOWN = 3  # lost tries that are told in full


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes:
        disturb: Makes it once.
        tries: How often, by default.
        what: What is done.
        outcome: What a user sees, and does.
    """

    disturb: Callable[[Try], Outcome | None]
    tries: int
    what: str
    outcome: str


GOES_ON = "`--resume` goes on after the last finished epoch."
FAULTS = {
    "kill": Fault(
        kinds.kill, 100, "SIGKILL at a random moment, one in four once more while it is resumed", f"Nothing. {GOES_ON}"
    ),
    "terminate": Fault(
        kinds.terminate,
        20,
        "SIGTERM at a random moment",
        f"The run ends after the step in hand and says so, exit code 1. {GOES_ON}",
    ),
    "short-grace": Fault(
        kinds.short_grace, 10, "SIGTERM, and SIGKILL within half a second", f"Perhaps nothing. {GOES_ON}"
    ),
    "interrupt": Fault(
        kinds.interrupt, 20, "Ctrl-C at a random moment", f"The run ends and says so, exit code 1. {GOES_ON}"
    ),
    "reading": Fault(
        kinds.read_by_others,
        3,
        "another process reads the bundle all the time while it is trained",
        "Each reading gives the weights of the epoch that the description names.",
    ),
    "full-disk": Fault(
        kinds.full_disk,
        20,
        "a disk that is too small, of a random size",
        f"One sentence, exit code 1 (2 if nothing was begun). Make room. {GOES_ON}",
    ),
    "read-only": Fault(
        kinds.read_only, 10, "the folder becomes read-only at a random moment", f"One sentence. Mend it. {GOES_ON}"
    ),
    "worker": Fault(
        kinds.killed_worker,
        10,
        "SIGKILL of a process that reads images, at a random moment",
        f"One sentence. {GOES_ON}",
    ),
    "damaged-checkpoint": Fault(
        kinds.damaged_checkpoint,
        20,
        "the last `resume.ckpt` is cut off, empty, missing, or has other bytes",
        "`--resume` says so, takes the one before, and repeats an epoch.",
    ),
    "nan": Fault(
        kinds.not_a_number,
        3,
        "all weights are NaN at step 5",
        "One sentence with the step; the best epoch before it is kept.",
    ),
    "lost-gpu": Fault(
        kinds.lost_gpu, 5, "CUDA's error for a lost GPU, simulated, at a random step", f"One sentence. {GOES_ON}"
    ),
    "memory": Fault(
        kinds.no_memory,
        3,
        "no memory for a whole batch, simulated",
        "One sentence with the options that need less; `--resume --accumulate 2` goes on.",
    ),
    "memory-halved": Fault(
        kinds.halved,
        5,
        "no memory for a whole batch or a half, simulated, with `--halve`",
        "A warning; the run goes on in smaller parts by itself.",
    ),
    **{
        f"kill-{verb}": Fault(
            partial(kinds.killed_verb, verb=verb),
            10,
            f"SIGKILL at a random moment of `{verb}`",
            "The model and each file of results are whole, old or new; run it again.",
        )
        for verb in VERBS
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(FAULTS), help="names of faults, with commas between")
    parser.add_argument("--tries", type=int, default=None, help="of each, for a quick look")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--keep", type=Path, default=None, help="a folder for what is left of the tries that were lost")
    parser.add_argument("--page", action="store_true", help="write the page from the results, and end")
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    if arguments.page:
        from faults_page import PAGE, page

        PAGE.write_text(page())
        return
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in FAULTS]:
        parser.error(f"no fault {unknown[0]!r}; there are {', '.join(FAULTS)}")
    began = time.monotonic()
    warm()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        reference = undisturbed(Path(folder) / "reference")
        seconds = verb_seconds(Path(folder) / "verbs", reference, [verb for verb in VERBS if f"kill-{verb}" in chosen])
        rows = {}
        for name in chosen:
            tries = arguments.tries or FAULTS[name].tries
            outcomes = run_tries(name, tries, Path(folder), reference, seconds, arguments)
            rows[name] = summary(outcomes)
    results = describe(arguments, reference, rows, time.monotonic() - began)
    print(table(results["faults"]))
    if set(rows) != set(FAULTS) and arguments.out.exists():  # rows of before stay, each with its own commit
        before = json.loads(arguments.out.read_text())
        same = {name: before[name] for name in ROW}
        earlier = {name: same | row for name, row in before["faults"].items()}
        results["faults"] = {name: {**earlier, **results["faults"]}[name] for name in FAULTS if name in earlier | rows}
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(arguments.out)
    sys.exit(1 if any(row["lost"] for row in rows.values()) else 0)


def verb_seconds(folder: Path, reference: Reference, verbs: list[str]) -> dict[str, float]:
    """How long training and each of these verbs takes undisturbed; makes the second run that `ensemble` needs."""
    seconds = {"train": reference.seconds}
    if not verbs:
        return seconds
    folder.mkdir()
    second = start(training(reference.run.with_name("second"), "--lr", "0.001"), folder / "second.txt")
    if second.finish():
        raise SystemExit(f"the second run failed: {second.last_line}")
    for verb in verbs:
        for turn in ("first", "again"):  # what is compiled or kept for the next time has been by then
            place = folder / f"{verb}-{turn}"
            place.mkdir()
            finished_runs(place, reference, reference.run.with_name("second"))
            command = start(arguments_of(verb, place), place / "command.txt")
            if command.finish():
                raise SystemExit(f"undisturbed, {verb} failed: {command.last_line}")
            seconds[verb] = time.monotonic() - command.began
    return seconds


# tries


def run_tries(
    name: str, tries: int, folder: Path, reference: Reference, seconds: dict[str, float], arguments: argparse.Namespace
) -> list[Outcome]:
    """All tries of a fault, each in a fork of its own, so many at once."""
    waiting, running, outcomes = iter(range(tries)), dict[int, Path](), list[Outcome]()
    while True:
        while len(running) < arguments.at_once and (number := next(waiting, None)) is not None:
            place = folder / f"{name}-{number}"
            place.mkdir()
            pid = os.fork()
            if not pid:
                one_try(name, number, place, reference, seconds, arguments.seed)
            running[pid] = place
        if not running:
            return outcomes
        pid, _ = os.wait()
        place = running.pop(pid)
        outcomes.append(outcome_of(place))
        if not outcomes[-1].survived and arguments.keep is not None:
            shutil.copytree(place, arguments.keep / place.name, dirs_exist_ok=True)
        shutil.rmtree(place)
        lost = sum(not outcome.survived for outcome in outcomes)
        told = f"{name}: {len(outcomes)} of {tries}, lost {lost}"
        print(told, end="\r" if sys.stderr.isatty() and len(outcomes) < tries else "\n", file=sys.stderr, flush=True)


def one_try(name: str, number: int, place: Path, reference: Reference, seconds: dict[str, float], seed: int) -> None:
    """Make a fault once, write what came of it, and end this process."""
    try:
        outcome = None
        for draw in range(DRAWS):
            folder = place / f"draw-{draw}"
            folder.mkdir()
            rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number, draw])
            outcome = FAULTS[name].disturb(Try(folder, rng, reference, seconds))
            if outcome is not None:
                break
            if not os.path.ismount(folder / "disk"):
                shutil.rmtree(folder)
        outcome = outcome or Outcome("never disturbed", (f"{DRAWS} times it had ended before it could be disturbed",))
        (place / "outcome.json").write_text(json.dumps(asdict(outcome)))
    except BaseException:  # of this benchmark itself
        traceback.print_exc()
    finally:
        os._exit(0)


def outcome_of(place: Path) -> Outcome:
    """What `one_try` wrote."""
    try:
        found = json.loads((place / "outcome.json").read_text())
    except FileNotFoundError:
        return Outcome("the try itself failed", ("see standard error",))
    return Outcome(found["seen"], tuple(found["wrong"]), found["tried"])


# results


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Of the tries of one fault."""
    lost = [outcome for outcome in outcomes if not outcome.survived]
    tries = sum(outcome.tried for outcome in outcomes)
    return {
        "tries": tries,
        "survived": tries - len(lost),
        "lost": len(lost),
        "seen": dict(Counter(outcome.seen for outcome in outcomes).most_common()),
        "wrong": dict(Counter(wrong for outcome in lost for wrong in outcome.wrong).most_common(10)),
        "examples": [[outcome.seen, *outcome.wrong] for outcome in lost[:SHOWN]],
    }


def describe(
    arguments: argparse.Namespace, reference: Reference, rows: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """The results file."""
    import torch
    from epoch_rate import provenance
    from processor import processor

    about = provenance(torch.device("cpu"), arguments.commit)
    about |= {"processor": processor(), "seed": arguments.seed}
    made = {name: about[name] for name in ROW}
    return {
        **about,
        "run": " ".join(["medmamba", *training(Path("RUN"))]),
        "steps": EPOCHS * STEPS,
        "seconds_of_the_undisturbed_run": round(reference.seconds, 2),
        "seconds": round(seconds),
        "faults": {name: row | made for name, row in rows.items()},
    }


def table(rows: dict[str, Any]) -> str:
    """The one table, for a terminal."""

    def lines() -> Iterator[tuple[str, ...]]:
        yield ("fault", "tries", "survived", "lost", "seen")
        for name, row in rows.items():
            found = row["wrong"] or row["seen"]
            seen = "; ".join(f"{words} ({count})" for words, count in list(found.items())[:3])
            yield (name, *(str(row[each]) for each in ("tries", "survived", "lost")), seen)

    cells = list(lines())
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(row[column].rjust(widths[column]) for column in (1, 2, 3)), row[4]])
        for row in cells
    )


if __name__ == "__main__":
    main()
