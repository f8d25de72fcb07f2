"""One run: everything that is planned, in turn, on one device."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from medmamba.benchmark import machine, networks, scan, summary
from medmamba.benchmark.plan import Plan
from medmamba.device import scan_backend
from medmamba.errors import InputError
from medmamba.json_file import holds_entries
from medmamba.models import create_model
from medmamba.ops import BackendError
from medmamba.ops import backend as scans

logger = logging.getLogger(__name__)


def benchmark(
    plan: Plan,
    progress: Callable[[int, int], None] | None = None,
    save: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Measure what is planned.

    Args:
        plan: From `make_plan`.
        progress: Called with the runs done and in all.
        save: Called with the report so far after each model, so that a run that is ended early loses only the last.

    Returns:
        The report, as JSON takes it: `complete` (false in what `save` gets before the end), `date`, `device`,
        `versions`, `commit`, `changed`, `settings`, `scan_backend`, `measurements` (a row a model, mode and quantity,
        failures among them), `best` (a row a model and quantity), and with `plan.op` `card` and `scans` (a row a map,
        backend and kind of work). See docs/how-to/benchmark.md.

    Raises:
        InputError: There is no model of a name, it cannot take such images, or the scan backend asked for cannot run.
    """
    conditions = {**_conditions(plan), "scan_backend": _scan_backends(plan)}
    models = {name: create_model(name, networks.CLASSES, image_size=plan.image_size) for name in plan.models}
    advance = _counter(plan, progress)
    measurements: list[networks.Measurement] = []
    scan_times: list[scan.ScanTime] = []
    card: scan.Card | None = None

    def report(*, complete: bool) -> dict[str, Any]:
        return {
            "complete": complete,
            **conditions,
            "measurements": summary.with_ratios(measurements),
            "best": summary.best(measurements),
            "card": None if card is None else asdict(card),
            "scans": [summary.scan_row(time) for time in scan_times],
        }

    with _tuned(plan.device):
        for name in plan.models:
            logger.info("measuring %s on %s", name, machine.card(plan.device))
            measurements += networks.measure_model(name, models.pop(name), plan, advance)
            if save is not None:
                save(report(complete=False))
        if plan.op:
            logger.info("measuring the scan on %s", machine.card(plan.device))
            card = scan.measure_card(plan)
            scan_times += scan.measure_scans(plan, card, advance)
    finished = report(complete=True)
    if save is not None:
        save(finished)
    return finished


def is_report(path: Path) -> bool:
    """Whether a file is a report of `benchmark`, whole or so far."""
    return holds_entries(path, ("complete", "settings", "scan_backend", "measurements", "best"))


def _conditions(plan: Plan) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": machine.card(plan.device),
        "versions": machine.versions(),
        **machine.source(),
        "settings": {
            "models": list(plan.models),
            "modes": list(plan.modes),
            "batch_size": plan.batch_size,
            "image_size": list(plan.image_size),
            "classes": networks.CLASSES,
            "precision": plan.precision,
            "memory_format": "channels_last",
            "optimizer": "AdamW, fused",
            "float32_matmul": torch.get_float32_matmul_precision(),
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
            "seconds": plan.seconds,
        },
    }


def _scan_backends(plan: Plan) -> dict[str, str]:
    """Which scan backend runs forward and backward on the device, for the activations' dtype."""
    scan_backend(plan.device)
    try:
        return {
            direction: scans.choose(
                plan.device.type, scans.requested(), direction, call=scans.Call("cross_scan", plan.dtype)
            )
            for direction in ("forward", "backward")
        }
    except BackendError as reason:
        raise InputError(str(reason)) from None


def _counter(plan: Plan, progress: Callable[[int, int], None] | None) -> Callable[[], None]:
    total = len(plan.models) * len(plan.modes) * networks.RUNS
    if plan.op:
        total += len(scan.maps(plan.batch_size, plan.image_size)) * len(scan.backends(plan)) * len(scan.WORK)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return advance


@contextmanager
def _tuned(device: torch.device) -> Iterator[None]:
    """The device current and cuDNN free to choose its fastest kernels inside; as before after."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            yield
    finally:
        torch.backends.cudnn.benchmark = before
