"""What each step in the making of the scan gave: the cross-scan of several commits, timed in one run on one machine.

    python benchmarks/scan_history.py COMMIT [COMMIT ...] [--device cuda] [--batch 128] [--out FILE]

For every commit, oldest first, its package is unpacked into a temporary folder and timed by a process of its own, at
the four stages of medmamba_tiny for images of 224 x 224: forward, and forward with backward, in bfloat16 on a GPU and
float32 on a processor, with parameters as in a fresh network. Needs git.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "scan-history.json"
STAGES = ((56, 96), (28, 192), (14, 384), (7, 768))  # side of the map, channels
STATES, DIRECTIONS = 16, 4
SECONDS = 0.3  # that a measurement repeats, about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="*")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # what a process of its own does
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(torch.device(arguments.device), arguments.batch)))
        return
    if not arguments.commits:
        parser.error("name the commits, oldest first")
    steps = [step(commit, arguments) for commit in arguments.commits]
    results = {
        "command": f"python benchmarks/scan_history.py {' '.join(sys.argv[1:])}",
        "device": steps[0].pop("device"),
        "torch": torch.__version__,
        "batch": arguments.batch,
        "unit": "ms",
        "stages": [{"map": [side, side], "channels": channels, "rank": rank(channels)} for side, channels in STAGES],
        "steps": [{name: value for name, value in step.items() if name != "device"} for step in steps],
    }
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(arguments.out)


def step(commit: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Name and times of a commit."""
    full, subject = git("log", "-1", "--format=%H%n%s", commit).splitlines()
    print(f"{full[:7]} {subject}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "-C", ROOT, "archive", full, "src"], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        command = [sys.executable, __file__, "--measure", "--device", arguments.device, "--batch", str(arguments.batch)]
        paths = os.pathsep.join(filter(None, [f"{folder}/src", os.environ.get("PYTHONPATH")]))
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the scan of {commit} cannot be timed: {done.stderr.strip().splitlines()[-1]}")
    return {"commit": full, "subject": subject, **json.loads(done.stdout.splitlines()[-1])}


def measure(device: torch.device, batch: int) -> dict[str, Any]:
    """Times of the package that is imported here."""
    from medmamba.ops import cross_scan

    times: dict[str, Any] = {"forward": [], "forward_and_backward": []}
    for side, channels in STAGES:
        tensors = inputs(device, batch, side, channels)
        leaves = [tensor.requires_grad_() for tensor in tensors]
        grad = torch.randn_like(tensors[0])

        def forward(tensors: list[torch.Tensor] = tensors) -> None:
            with torch.no_grad():
                cross_scan(*tensors)

        def both(leaves: list[torch.Tensor] = leaves, grad: torch.Tensor = grad) -> None:
            torch.autograd.grad(cross_scan(*leaves), leaves, grad)

        times["forward"].append(median(forward, device))
        times["forward_and_backward"].append(median(both, device))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, **times}


def inputs(device: torch.device, batch: int, side: int, channels: int) -> list[torch.Tensor]:
    """x, proj, dt_weight, dt_bias, A and D; steps between 0.001 and 0.1 as in a fresh network."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    r = rank(channels)
    x = torch.randn(batch, side, side, channels, device=device, dtype=dtype)
    proj = torch.randn(batch, side, side, DIRECTIONS, r + 2 * STATES, device=device, dtype=dtype)
    weight = torch.randn(DIRECTIONS, channels, r, device=device) * r**-0.5
    step = torch.empty(DIRECTIONS, channels, device=device).uniform_(-6.9, -2.3).exp()
    bias = step + torch.log(-torch.expm1(-step))
    rates = -torch.arange(1, STATES + 1, device=device).float().expand(DIRECTIONS, channels, STATES).contiguous()
    return [x, proj, weight, bias, rates, torch.ones(DIRECTIONS, channels, device=device)]


def rank(channels: int) -> int:
    """Of the step's projection, as the network has it: even."""
    r = -(-channels // 32)
    return r + r % 2


def median(call: Callable[[], None], device: torch.device) -> float:
    """Milliseconds of a call, after a warm-up."""
    for _ in range(3):
        call()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < 5 or time.perf_counter() < end:
        times.append(elapsed(call, device))
    return statistics.median(times)


def elapsed(call: Callable[[], None], device: torch.device) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - start)
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    call()
    after.record()
    after.synchronize()
    return before.elapsed_time(after)


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
