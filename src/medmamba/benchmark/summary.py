"""What the figures say: ratios to the first model, the best mode of each, and tables in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medmamba.benchmark.networks import Measurement
from medmamba.benchmark.scan import ScanTime

Rows = list[tuple[str, ...]]


@dataclass(frozen=True)
class Quantity:
    """A row of `QUANTITIES`."""

    unit: str
    what: str
    more_is_better: bool


QUANTITIES = {
    "inference": Quantity("img/s", "forward", True),
    "training": Quantity("img/s", "forward, loss, backward and a step of AdamW", True),
    "memory": Quantity("GB", "most that is allocated at once in a training step; 1 GB is 1e9 bytes", False),
    "latency": Quantity("ms", "forward of one image", False),
}


def with_ratios(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """A row each, with its unit and the ratio of its median to that of the first model in the same mode.

    The ratio is None where either of the two failed.
    """
    rows = []
    first = measurements[0].model if measurements else ""
    medians = {(one.model, one.mode, one.quantity): one.spread.median for one in measurements if one.spread}
    for one in measurements:
        median = medians.get((one.model, one.mode, one.quantity))
        reference = medians.get((first, one.mode, one.quantity))
        row = asdict(one)
        figures = row.pop("spread") or dict.fromkeys(("median", "p10", "p90", "p95", "repeats"))
        rows.append({**row, "unit": QUANTITIES[one.quantity].unit, **figures, "ratio": ratio(median, reference)})
    return rows


def best(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The best mode of every model for every quantity that was measured.

    `ratio` compares with the best mode of the first model, `ratio_to` with each of its modes.
    """
    first = measurements[0].model if measurements else ""
    rows = []
    for quantity in QUANTITIES:
        medians: dict[str, dict[str, float]] = {}
        for one in measurements:
            if one.quantity == quantity and one.spread:
                medians.setdefault(one.model, {})[one.mode] = one.spread.median
        reference = medians.get(first, {})
        for model, modes in medians.items():
            mode = _best_mode(modes, quantity)
            against = reference[_best_mode(reference, quantity)] if reference else None
            rows.append(
                {
                    "model": model,
                    "quantity": quantity,
                    "unit": QUANTITIES[quantity].unit,
                    "mode": mode,
                    "median": modes[mode],
                    "ratio": ratio(modes[mode], against),
                    "ratio_to": {other: ratio(modes[mode], value) for other, value in reference.items()},
                }
            )
    return rows


def _best_mode(medians: dict[str, float], quantity: str) -> str:
    choose = max if QUANTITIES[quantity].more_is_better else min
    return choose(medians, key=medians.__getitem__)


def ratio(value: float | None, reference: float | None) -> float | None:
    """`value / reference`, or None where there is none."""
    return None if value is None or not reference else value / reference


def scan_row(time: ScanTime) -> dict[str, Any]:
    """A row of the report."""
    figures = asdict(time.spread) if time.spread else dict.fromkeys(("median", "p10", "p90", "p95", "repeats"))
    bound = time.limit
    return {
        "map": asdict(time.map),
        "backend": time.backend,
        "work": time.work,
        "unit": "ms",
        **figures,
        "limit_exponentials_ms": bound.exponentials_ms if bound else None,
        "limit_bytes_ms": bound.bytes_ms if bound else None,
        "limit_ms": bound.ms if bound else None,
        "limited_by": bound.by if bound else None,
        "times_limit": ratio(figures["median"], bound.ms if bound else None),
        "error": time.error,
    }


def conditions(report: dict[str, Any]) -> Rows:
    """On what and how it was measured."""
    settings, found = report["settings"], report["versions"]
    changed = ", changed since" if report["changed"] else ""
    scans = " forward, ".join(report["scan_backend"].values()) + " backward"
    return [
        ("device", report["device"]),
        ("batch", f"{settings['batch_size']}; latency of 1"),
        ("size", "{} x {}".format(*settings["image_size"])),
        ("precision", f"{settings['precision']}, channels_last"),
        ("scan backend", scans),
        ("versions", ", ".join(f"{name} {number}" for name, number in found.items() if number)),
        ("commit", f"{report['commit'] or 'none'}{changed}"),
        ("date", report["date"]),
    ]


def tables(report: dict[str, Any]) -> list[Rows]:
    """Those that the report has rows for."""
    found = []
    if report["measurements"]:
        found += [models_table(report), best_table(report)]
    if report["scans"]:
        found.append(scans_table(report))
    return found


def notes(report: dict[str, Any]) -> list[str]:
    """What the tables need said, and every failure, a line each."""
    lines = []
    if report["measurements"]:
        reference = report["settings"]["models"][0]
        lines.append(f"In brackets the ratio to {reference}: above, in the same mode; below, best mode to best mode.")
    if card := report["card"]:
        clock = f"{card['clock_ghz']:.3f} GHz ({card['clock_source']})"
        copied = f"copies at {card['copy_gb_per_s']:,.0f} GB/s (measured, read and written)"
        lines.append(f"Limit computed for {card['multiprocessors']} multiprocessors at {clock}, {copied}.")
    return [*lines, *failures(report)]


def models_table(report: dict[str, Any]) -> Rows:
    """A row a model and mode: medians, in brackets the ratio to the first model in the same mode."""
    cells = {(row["model"], row["mode"], row["quantity"]): row for row in report["measurements"]}
    rows: Rows = [("model", "mode", *_headings(), "p95 ms", "notes")]
    for model in report["settings"]["models"]:
        for mode in report["settings"]["modes"]:
            own = {quantity: cells.get((model, mode, quantity)) for quantity in QUANTITIES}
            figures = (_cell(own[quantity]) for quantity in QUANTITIES)
            latency = own["latency"]
            p95 = "-" if latency is None or latency["p95"] is None else in_digits(latency["p95"])
            rows.append((model, mode, *figures, p95, _remarks([row for row in own.values() if row])))
    return rows


def best_table(report: dict[str, Any]) -> Rows:
    """A row a model: its best mode for each quantity, in brackets the ratio to the best of the first model."""
    cells = {(row["model"], row["quantity"]): row for row in report["best"]}
    rows: Rows = [("best mode of", *_headings())]
    for model in report["settings"]["models"]:
        own = {quantity: cells.get((model, quantity)) for quantity in QUANTITIES}
        rows.append((model, *(_cell(row) + (f" {row['mode']}" if row else "") for row in own.values())))
    return rows


def scans_table(report: dict[str, Any]) -> Rows:
    """A row a map, backend and kind of work."""
    rows: Rows = [("scan (b, h, w, d)", "backend", "work", "ms", "p90", "limit ms", "times limit", "limited by")]
    for row in report["scans"]:
        size = "({b}, {h}, {w}, {d})".format(**row["map"])
        figures = (_figure(row[key], ".3f") for key in ("median", "p90", "limit_ms"))
        rows.append(
            (size, row["backend"], row["work"], *figures, _figure(row["times_limit"], ".1f"), row["limited_by"] or "-")
        )
    return rows


def failures(report: dict[str, Any]) -> list[str]:
    """A line for everything that has no figure."""
    lines = [
        f"{row['model']}, {row['mode']}, {row['quantity']}: {row['error']}"
        for row in report["measurements"]
        if row["error"]
    ]
    lines += [
        "scan {b} x {h} x {w} x {d}".format(**row["map"]) + f", {row['backend']}, {row['work']}: {row['error']}"
        for row in report["scans"]
        if row["error"]
    ]
    return lines


def _headings() -> list[str]:
    return ["latency p50 ms" if name == "latency" else f"{name} {row.unit}" for name, row in QUANTITIES.items()]


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["median"] is None:
        return "-"
    return f"{in_digits(row['median'])} ({_figure(row['ratio'], '.2f')})"


def in_digits(value: float) -> str:
    """Whole above 100, else three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _remarks(rows: Sequence[dict[str, Any]]) -> str:
    remarks = []
    breaks = [row["graph_breaks"] for row in rows if row["graph_breaks"] is not None]
    if breaks:
        remarks.append(f"{max(breaks)} graph breaks")
    failed = [row["quantity"] for row in rows if row["error"]]
    if failed:
        remarks.append(f"failed: {', '.join(failed)}")
    return "; ".join(remarks)
