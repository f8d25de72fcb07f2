"""Files that mean harm through every reader of the product: refused with its own error, in time, nothing run.

    python benchmarks/hostile_files.py [--only WORDS] [--tries N] [--out FILE]
    python benchmarks/hostile_files.py --keep FOLDER --only "mutated bundle" --number 47   (to look at one)

`hostile_content.py` makes them, number n of a kind from n alone. All are read in this one process, one after the other.
The growth of memory is the most that was resident while a file was read, less what was before it; a kind's first file
is read once before that is counted. A pickle that was run would make a folder, which is looked for after each file.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hostile_content import KINDS, MARKER, Kind, fresh, good_bundle

from medmamba.errors import InputError, one_line

RESULTS = Path(__file__).parent / "results" / "hostile-files.json"
SECONDS, MEGABYTES = 1.0, 50.0  # within which each is to be refused
STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Tally:
    """What became of the files of one kind.

    Attributes:
        counts: `refused`, `read`, or the kind of an error that is not ours.
        others: By number: what must not be, in words.
        slowest: Seconds.
        growth: Megabytes (2^20 bytes).
        markers: Files whose code was run.
    """

    counts: Counter[str] = field(default_factory=Counter)
    others: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0
    growth: float = 0.0
    markers: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="kinds whose name holds these words")
    parser.add_argument("--tries", type=int, default=None, help="of each kind, in place of its own number")
    parser.add_argument("--keep", type=Path, default=None, help="write one file into this folder and end")
    parser.add_argument("--number", type=int, default=0, help="of that file")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    kinds = [kind for kind in KINDS if arguments.only in kind.name]
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good"
        expected = good_bundle(good)
        if arguments.keep is not None:
            fresh(arguments.keep, good)
            kinds[0].write(arguments.keep, arguments.number)
            return
        tallies = {kind.name: attack(kind, good, expected, Path(folder) / "given", arguments.tries) for kind in kinds}
    results = describe(tallies, arguments.commit)
    print(table(results["kinds"]))
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(arguments.out)
    sys.exit(0 if results["passed"] else 1)


def attack(kind: Kind, good: Path, expected: torch.Tensor, folder: Path, tries: int | None = None) -> Tally:
    """Read all files of a kind."""
    tally = Tally()
    one(kind, 0, good, expected, folder, Tally())  # what is imported on first use is not of the file's doing
    for number in range(kind.tries if tries is None else min(tries, kind.tries)):
        one(kind, number, good, expected, folder, tally)
    return tally


def one(kind: Kind, number: int, good: Path, expected: torch.Tensor, folder: Path, tally: Tally) -> None:
    """Make a file, read it and count what became of it."""
    fresh(folder, good)
    kind.write(folder, number)
    forget_peak()
    before, start = memory("VmRSS"), time.perf_counter()
    try:
        found = kind.read(folder)
        outcome = "read"
        if not kind.harmless or (isinstance(found, torch.Tensor) and not torch.equal(found, expected)):
            tally.others[number] = "it was read" if not kind.harmless else "it was read, and answers otherwise"
    except InputError:
        outcome = "refused"
    except Exception as reason:  # whatever it is, it is the finding
        outcome = type(reason).__name__
        tally.others[number] = one_line(reason)[:200]
    tally.slowest = max(tally.slowest, time.perf_counter() - start)
    tally.growth = max(tally.growth, memory("VmHWM") - before)
    tally.counts[outcome] += 1
    if (folder / MARKER).exists() or (folder.parent / MARKER).exists():
        tally.markers += 1
        tally.others[number] = "its code was run, or it was unpacked"


def memory(kind: str) -> float:
    """Megabytes that are resident now (`VmRSS`), or the most since `forget_peak` (`VmHWM`)."""
    found = re.search(rf"^{kind}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE) if STATUS.is_file() else None
    return int(found[1]) / 1024 if found else 0.0


def forget_peak() -> None:
    """The most that was resident is counted from here on."""
    if REFERENCES.exists():
        REFERENCES.write_text("5")


def describe(tallies: dict[str, Tally], commit: str | None) -> dict[str, Any]:
    """The results file."""
    from epoch_rate import provenance
    from processor import processor

    kinds = [
        {
            "name": name,
            "tries": tally.counts.total(),
            "refused": tally.counts["refused"],
            "read": tally.counts["read"],
            "markers": tally.markers,
            "slowest_seconds": round(tally.slowest, 3),
            "growth_megabytes": round(tally.growth, 1),
            "others": {str(number): words for number, words in sorted(tally.others.items())},
        }
        for name, tally in tallies.items()
    ]
    passed = all(
        not each["others"] and each["slowest_seconds"] <= SECONDS and each["growth_megabytes"] <= MEGABYTES
        for each in kinds
    )
    return {
        **provenance(torch.device("cpu"), commit),
        "processor": processor(),
        "limits": {"seconds": SECONDS, "megabytes": MEGABYTES},
        "passed": passed,
        "markers": sum(tally.markers for tally in tallies.values()),
        "kinds": kinds,
    }


def table(kinds: Sequence[dict[str, Any]]) -> str:
    """A row a kind, in Markdown."""
    rows = [
        "| files | tries | refused | read, unchanged | neither | run | slowest, s | memory, MB |",
        "|" + " --- |" * 8,
    ]
    for each in kinds:
        columns = (each["name"], each["tries"], each["refused"], each["read"], len(each["others"]), each["markers"])
        rows.append(
            f"| {' | '.join(map(str, columns))} | {each['slowest_seconds']:.2f} | {each['growth_megabytes']:.0f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
