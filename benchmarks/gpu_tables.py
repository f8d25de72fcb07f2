"""The tables of GPU speeds in the documents, from what `medmamba benchmark` has written.

    python benchmarks/gpu_tables.py

For the README that of models, from results/gpu.json (`medmamba benchmark --seconds 0.5 --models convnext_tiny
medmamba_tiny --modes eager compile compile+graph --out FILE`); for docs/explain/scan.md that of the scan, from
gpu-scan.json (`--op`), that of large inputs, from gpu.json, gpu-1024.json and gpu-base16.json, and that of the scan's
making, from scan-history.json; for docs/how-to/fast-training.md that of one and two GPUs, from two-gpus.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    print(models(), large(), scans(), history(), gpus(), sep="\n\n")


def models() -> str:
    """A row a model and mode; in brackets the ratio to the first model in its best mode."""
    report = load("gpu")
    best = {row["quantity"]: row["median"] for row in report["best"] if row["model"] == report["settings"]["models"][0]}
    cells = {(row["model"], row["mode"], row["quantity"]): row["median"] for row in report["measurements"]}

    def cell(model: str, mode: str, quantity: str, form: str) -> str:
        value = cells[model, mode, quantity]
        return f"{value:{form}} ({value / best[quantity]:.2f})"

    return markdown(
        ("model", "mode", "inference, images/s", "training, images/s", "training memory, GB", "one image, ms"),
        (
            (
                model,
                mode,
                cell(model, mode, "inference", ",.0f"),
                cell(model, mode, "training", ",.0f"),
                cell(model, mode, "memory", ".1f"),
                cell(model, mode, "latency", ".2f"),
            )
            for model in report["settings"]["models"]
            for mode in report["settings"]["modes"]
        ),
    )


def large() -> str:
    """Training where memory is what one asks about: the best mode that was measured of each."""
    rows = []
    for name, model in (("gpu", "medmamba_tiny"), ("gpu-1024", "medmamba_tiny"), ("gpu-base16", "medmamba_base16")):
        report = load(name)
        height, width = report["settings"]["image_size"]
        own = {row["quantity"]: row for row in report["best"] if row["model"] == model}
        rate = own["training"]["median"]
        rows.append(
            (
                model,
                f"{height} x {width}",
                str(report["settings"]["batch_size"]),
                own["training"]["mode"],
                f"{rate:,.0f}",
                f"{rate * height * width / 1e6:.0f}",
                f"{own['memory']['median']:.1f}",
            )
        )
    return markdown(("model", "image", "batch", "mode", "training, images/s", "million pixels/s", "memory, GB"), rows)


def scans() -> str:
    """A row a stage of medmamba_tiny and backend."""
    times = {
        (tuple(row["map"][size] for size in "bhwd"), row["backend"], row["work"]): (row["median"], row["limit_ms"])
        for row in load("gpu-scan")["scans"]
    }
    maps = dict.fromkeys((shape, backend) for shape, backend, _ in times if backend != "chunked")
    rows = []
    for shape, backend in maps:
        (forward, limit), (both, limit_both) = (times[shape, backend, w] for w in ("forward", "forward+backward"))
        rows.append((f"{shape}", backend, f"{forward:.2f}", f"{limit:.2f}", f"{both:.2f}", f"{limit_both:.2f}"))
    return markdown(("map (b, h, w, d)", "backend", "forward, ms", "limit", "with backward, ms", "limit"), rows)


def history() -> str:
    """A row a commit: the first stage's scan, and the sum of those of all four."""
    rows = [
        (
            step["commit"][:7],
            step["subject"],
            *(
                f"{f(step[work]):.2f}"
                for f in (lambda times: times[0], sum)
                for work in ("forward", "forward_and_backward")
            ),
        )
        for step in load("scan-history")["steps"]
    ]
    heading = ("stage 1 forward, ms", "with backward", "all stages forward", "with backward")
    return markdown(("commit", "what it brought", *heading), rows)


def gpus() -> str:
    """A row a number of GPUs."""
    report = load("two-gpus")
    first = report["runs"][0]["images_per_second"]
    rows = [
        (
            str(run["devices"]),
            str(run["batch_size"]),
            f"{run['images_per_second']:,.0f} ({run['images_per_second'] / first:.2f})",
            f"{auc:.4f}",
        )
        for run, auc in zip(report["runs"], report["auc"], strict=True)
    ]
    return markdown(("GPUs", "batch", "training, images/s", "validation AUC"), rows)


def load(name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return report


def markdown(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
