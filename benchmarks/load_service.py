"""`medmamba serve` under load, on loopback: many large uploads at once, then batching against one image at a time.

    python benchmarks/load_service.py [MODEL] --data DATA [--seconds 60] [--parallel 200] [--out FILE]

MODEL is a trained model's folder or an .onnx file; by default the model in the package. The clients run in a process of
their own, and one that asks for /healthz in another. Each of --parallel clients sends a picture of about a megabyte (of
DATA, enlarged, as PNG or JPEG, made before), waits for the reply, and sends the next on the same connection. After a
429 it waits as long as Retry-After says. Each answer is compared with that for the same picture sent alone before.

The second part sends pictures of the model's own size, so that the network is the work, from few clients to two servers
that take turns: one that makes batches, one that does not. The figure is the median over rounds of the ratio.

The default results file is written together with the block of figures in docs/how-to/deploy.md.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from service_client import EVERY, Uploads, ask_for_health, probabilities, upload
from service_process import MULTIPART, PROGRAM, Service, exchange, form, get, memory_cap, post, service

from medmamba.paper.sheet import fill

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "service-load.json"
PAGE = ROOT / "docs" / "how-to" / "deploy.md"
MEGABYTE = 1_000_000
BODIES = 16  # different pictures
HEALTH_MS, RATIO = 200.0, 1.5  # what must be reached
CLIENTS = 32  # of the comparison of batching
# nobody wants this but to compare, so it is no option of the command
ONE_BY_ONE = """
import sys
from functools import partial
from medmamba.cli import main
from medmamba.serve import service
service.Batcher = partial(service.Batcher, most=1, wait=0)
sys.exit(main(sys.argv[1:]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=None)
    parser.add_argument("--data", required=True, help="whose test pictures are sent; as for `medmamba evaluate`")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--parallel", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9, help="of the comparison of batching")
    parser.add_argument("--round-seconds", type=float, default=4.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as clients:
        uploads = load(arguments, clients)
        batching = compare(arguments, clients)
    results = describe(arguments, uploads, batching)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps({"uploads": uploads, "batching": batching, "reached": results["reached"]}, indent=2))
    if arguments.out == RESULTS:
        fill(PAGE, "benchmarks/results/service-load.json", block(results))
    print(arguments.out)
    raise SystemExit(0 if all(results["reached"].values()) else 1)


# what is sent


def pictures(data: str, number: int) -> list[np.ndarray]:
    """Test pictures, as they are read."""
    import medmamba

    images = medmamba.open_data(data).split("test")
    return [images.read(row) for row in range(0, len(images), max(1, len(images) // number))][:number]


def of_a_megabyte(pixels: np.ndarray, kind: str) -> bytes:
    """The picture enlarged, so that its file has about a megabyte."""
    picture, scale, content = Image.fromarray(pixels), 4.0, b""
    for _ in range(5):
        size = (round(picture.width * scale), round(picture.height * scale))
        file = io.BytesIO()
        picture.resize(size, Image.Resampling.BICUBIC).save(file, kind, quality=95, compress_level=1)
        content = file.getvalue()
        scale *= (MEGABYTE / len(content)) ** 0.5
    return content


def of_size(pixels: np.ndarray, height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR).save(file, "PNG")
    return file.getvalue()


def request(name: str, content: bytes) -> bytes:
    return post("/v1/predict", form((name, content)), MULTIPART)


def answers(running: Service, requests: Sequence[bytes]) -> list[list[float]]:
    """The probabilities that each is answered with when it comes alone."""
    found = []
    for content in requests:
        reply = exchange(running.port, content)
        if reply.status != 200:
            raise RuntimeError(f"a picture sent alone was answered with {reply.status}: {reply.body[:500]!r}")
        found.append(probabilities(reply.body))
    return found


# the load


def load(arguments: argparse.Namespace, clients: ProcessPoolExecutor) -> dict[str, Any]:
    """Large uploads, with questions for /healthz beside them and a look at the memory five times a second."""
    kinds = ("PNG", "JPEG")
    files = [
        (f"{row}.{kinds[row % 2].lower()}", of_a_megabyte(pixels, kinds[row % 2]))
        for row, pixels in enumerate(pictures(arguments.data, BODIES))
    ]
    requests = [request(*file) for file in files]
    with service(arguments.model) as running:
        expected = answers(running, requests)
        before = running.memory()
        running.forget_peak()
        sending = clients.submit(upload, running.port, requests, expected, arguments.parallel, arguments.seconds)
        asking = clients.submit(ask_for_health, running.port, arguments.seconds)
        memory = watch(running, sending)
        peak, found, health = running.memory("VmHWM"), sending.result(), asking.result()
        time.sleep(2)
        return {
            "seconds": arguments.seconds,
            "parallel": arguments.parallel,
            "mean_megabytes_a_picture": statistics.mean(len(content) for _, content in files) / 1e6,
            "start_seconds": running.started,
            **told(found),
            "health": told_of_health(health),
            "memory_megabytes": {
                "before": before,
                "peak": peak,
                "after": running.memory(),
                "cap": memory_cap(),
                "over_time": memory,
            },
        }


def watch(running: Service, sending: Future[Uploads]) -> list[float]:
    """Resident megabytes, once a second until the uploads are over."""
    found = []
    while not sending.done():
        found.append(round(running.memory()))
        time.sleep(1)
    return found


def told(found: Uploads) -> dict[str, Any]:
    """Of what the clients saw."""
    seconds = sorted(found.seconds)
    return {
        "statuses": dict(sorted(found.statuses.items())),
        "different_answers": found.different,
        "answered_a_second": len(seconds) / found.lasted,
        "answer_p50_seconds": quantile(seconds, 50),
        "answer_p99_seconds": quantile(seconds, 99),
        "client_share_of_a_core": found.processor / found.lasted,
    }


def told_of_health(milliseconds: Sequence[float]) -> dict[str, Any]:
    """Of the answers of /healthz, in the order in which they were asked for."""
    ordered, a_second = sorted(milliseconds), round(1 / EVERY)
    seconds = [milliseconds[start : start + a_second] for start in range(0, len(milliseconds), a_second)]
    return {
        "asked": len(ordered),
        "unanswered": sum(value == float("inf") for value in ordered),
        **{f"p{share}_ms": quantile(ordered, share) for share in (50, 99)},
        "most_ms": quantile(ordered, 100),
        "slowest_of_each_second_ms": [quantile(sorted(values), 100) for values in seconds],
    }


def quantile(ordered: Sequence[float], share: int) -> float | None:
    """The value below which so many of a hundred lie (nearest rank); None where there is none, or no answer came."""
    value = ordered[max(0, -(-share * len(ordered) // 100) - 1)] if ordered else float("inf")
    return None if value == float("inf") else value


# batching


def compare(arguments: argparse.Namespace, clients: ProcessPoolExecutor) -> dict[str, Any]:
    """Answers a second of two servers that take turns, one with batching and one without."""
    programs: dict[str, Sequence[str]] = {"batched": PROGRAM, "one_by_one": ("-c", ONE_BY_ONE)}
    rates: dict[str, list[float]] = {name: [] for name in programs}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(service(arguments.model, words)) for name, words in programs.items()}
        told = json.loads(exchange(servers["batched"].port, get("/v1/model")).body)
        height, width = told["preprocessing"]["height"], told["preprocessing"]["width"]
        files = [of_size(pixels, height, width) for pixels in pictures(arguments.data, BODIES)]
        requests = [request(f"{row}.png", content) for row, content in enumerate(files)]
        expected = {name: answers(running, requests) for name, running in servers.items()}
        for turn in range(-1, arguments.rounds):  # the first warms up
            for name, running in servers.items():
                job = (running.port, requests, expected[name], CLIENTS, arguments.round_seconds)
                found = clients.submit(upload, *job).result()
                if set(found.statuses) != {"200"} or found.different:
                    raise RuntimeError(f"{name}: {dict(found.statuses)}, {found.different} different answers")
                if turn >= 0:
                    rates[name].append(len(found.seconds) / found.lasted)
    ratios = [a / b for a, b in zip(rates["batched"], rates["one_by_one"], strict=True)]
    return {
        "network": told["name"],
        "clients": CLIENTS,
        "image_size": [height, width],
        "rounds": arguments.rounds,
        "answered_a_second": {name: statistics.median(values) for name, values in rates.items()},
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


# what is written


def describe(arguments: argparse.Namespace, uploads: dict[str, Any], batching: dict[str, Any]) -> dict[str, Any]:
    """The results file."""
    import torch
    from epoch_rate import provenance
    from processor import processor

    memory, health = uploads["memory_megabytes"], uploads["health"]
    no_fault = set(uploads["statuses"]) <= {"200", "429"} and uploads["different_answers"] == 0
    return {
        **provenance(torch.device("cpu"), arguments.commit),
        "processor": processor(),
        "cores": os.cpu_count(),
        "model": "in the package" if arguments.model is None else arguments.model.name,
        "data": Path(arguments.data).name,
        "uploads": uploads,
        "batching": batching,
        "must": {"health_p99_ms": HEALTH_MS, "ratio": RATIO},
        "reached": {
            "only_200_and_429": no_fault and uploads["statuses"].get("200", 0) > 0,
            "health": health["p99_ms"] is not None and health["p99_ms"] < HEALTH_MS,
            "memory": memory["peak"] < memory["cap"],
            "batching": batching["ratio"] >= RATIO,
        },
    }


def block(results: dict[str, Any]) -> str:
    """What docs/how-to/deploy.md says of the results."""
    uploads, batching = results["uploads"], results["batching"]
    health, memory, rates = uploads["health"], uploads["memory_megabytes"], batching["answered_a_second"]
    statuses = ", ".join(f"{number:,} times {status}" for status, number in uploads["statuses"].items())
    height, width = batching["image_size"]
    return f"""
`{batching["network"]}` at {width} x {height} pixels on {results["cores"]} cores ({results["processor"]}), float32:

| measured | |
| --- | --- |
| from the command to ready | {uploads["start_seconds"]:.1f} s |
| memory before the first image | {memory["before"]:,.0f} MB |
| most memory during {uploads["seconds"]:.0f} s of {uploads["parallel"]} uploads at once, \
{uploads["mean_megabytes_a_picture"]:.1f} MB each | {memory["peak"]:,.0f} MB (cap {memory["cap"]:,.0f} MB) |
| replies in that time | {statuses} |
| of these answered | {uploads["answered_a_second"]:.1f} a second, half within \
{uploads["answer_p50_seconds"]:.2f} s, 99 % within {uploads["answer_p99_seconds"]:.2f} s |
| `/healthz` meanwhile | half within {health["p50_ms"]:.0f} ms, 99 % within {health["p99_ms"]:.0f} ms |
| images of {width} x {height} pixels, {batching["clients"]} callers | {rates["batched"]:,.0f} a second |
| the same one by one | {rates["one_by_one"]:,.0f} a second (batching gives {batching["ratio"]:.2f} times that) |

"""


if __name__ == "__main__":
    main()
