"""`docs/reference/faults.md`: the tables of faults, hostile files and half precision, from the results files.

`python benchmarks/faults.py --page` writes it. What has not been measured has a dash.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from faults import FAULTS, RESULTS

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "reference" / "faults.md"
HOSTILE = HERE / "results" / "hostile-files.json"
PRECISION = HERE / "results" / "mixed-precision.json"

HEAD = """# Faults, and what comes of them

Each fault was made many times in real runs. A try is survived if the model can be read at the moment of the fault and
holds the weights of the epoch that its description names, if no finished epoch is lost, and if the run, gone on with
by `--resume`, ends with the weights, `history.csv` and end of an undisturbed run, bit for bit. Where a command ends by
itself it must say why in a sentence, without a traceback. `medmamba verify RUN` checks a run at any time.
"""
AFTER = """
What is not tested: a power failure that takes with it what a disk had promised to keep; folders on a network, whose
renames may not be whole; two runs at once in one folder. A lost GPU and the end of its memory are simulated by the
errors that CUDA raises. A run that goes on in smaller parts of a batch has other weights, and must end well.

## What to do after a fault

1. Run the same command with `--resume`. It says after which epoch it goes on.
2. If it says that there is nothing to resume, the run had not begun: start it again, without `--resume`.
3. If it says that options or data are others than before, give those of before, or start a new run.
"""


def load(path: Path) -> dict[str, Any]:
    """A results file, empty if it was not made yet."""
    return json.loads(path.read_text()) if path.exists() else {}


def page() -> str:
    """All of it."""
    return "\n".join(
        [HEAD, faults(load(RESULTS)), AFTER, hostile_files(load(HOSTILE)), half_precision(load(PRECISION))]
    )


def faults(results: dict[str, Any]) -> str:
    """The one table, and how it was made."""
    rows = results.get("faults", {})
    lines = ["| fault | tries | survived | lost | what you see, and do |", "| --- | --- | --- | --- | --- |"]
    for name, fault in FAULTS.items():
        row = rows.get(name, {})
        numbers = " | ".join(str(row.get(column, "-")) for column in ("tries", "survived", "lost"))
        lines.append(f"| {fault.what} | {numbers} | {fault.outcome} |")
    made = "Made by `python benchmarks/faults.py`"
    if results:
        commits = ", ".join(sorted({commit(row) for row in rows.values()}))
        made += f" ({commits}, {results['processor']}, seed {results['seed']}), each run being `{results['run']}`"
    return "\n".join([*lines, "", f"{made}."])


def hostile_files(results: dict[str, Any]) -> str:
    """A row a kind of file, as `hostile_files.py` prints it."""
    head = (
        "## Files that mean harm\n\n"
        "Files that others made are read without running anything in them. Each of these must be refused with one\n"
        "sentence, or, where a change left the file whole, be read as what it was. Made by\n"
        "`python benchmarks/hostile_files.py`"
    )
    if not results:
        return f"{head}, and not measured yet.\n"
    from hostile_files import table

    return "\n".join([f"{head} ({commit(results)}).\n", table(results["kinds"]), ""])


def half_precision(results: dict[str, Any]) -> str:
    """A row a run."""
    head = (
        "## Half precision\n\n"
        "Training on noise and on pictures that no scanner makes, with random labels, watched step by step: each\n"
        "loss, the norm of the gradients of each step that was made, and the running statistics of each BatchNorm.\n"
        "Made by `python benchmarks/mixed_precision.py`"
    )
    if not results:
        return f"{head}, and not measured yet.\n"
    lines = [
        "| precision | pictures | steps | loss | gradient norm | steps skipped by the scaler | numbers not finite |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in results["runs"]:
        cells = [run["precision"], run["pictures"], run["steps"], span(run["loss"]), span(run["gradient_norm"])]
        cells += [run["skipped_steps"], sum(run["not_finite"].values())]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    where = f"{results['model']}, {results['size']} x {results['size']}, batches of {results['batch']}"
    return "\n".join([f"{head} ({where}; {results['device']}, {commit(results)}).\n", *lines, ""])


def span(values: list[float] | None) -> str:
    """From the least to the largest."""
    return "-" if values is None else f"{values[0]:.3g} to {values[1]:.3g}"


def commit(results: dict[str, Any]) -> str:
    """Of the code that was measured."""
    return f"commit {str(results.get('commit'))[:12]}"
