"""`medmamba serve` and requests that nobody sends by mistake: a table of what was sent and what came back.

    python benchmarks/hostile_service.py [MODEL] [--requests 10000] [--seed 0] [--out FILE]

The service runs in a process of its own, on loopback, and from its start on the system refuses it every byte that it
would write to a file (RLIMIT_FSIZE). Three parts:

- the cases of `hostile_cases.py`, byte by byte. After each the service must be alive and answer a good picture, its
  memory must not have grown by more than MOST_GROWTH megabytes, and nothing of the inside may be in the reply;
- crowds: many connections that do nothing, or stop half-way;
- requests that schemathesis makes from the service's own OpenAPI description, half of them against it, and image files
  that `fuzz_reader.py` damages: none may be answered with a status of 500 or more.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuzz_reader import good_files, mutated
from hostile_bytes import PREDICT, SLOW, good, largest, opening
from hostile_cases import CASES, Case
from service_process import HOST, MULTIPART, Reply, Service, exchange, form, get, memory_cap, post, service

RESULTS = Path(__file__).parent / "results" / "service-hostile.json"
MOST_GROWTH = 100.0  # megabytes of resident memory that one request may cost, at its worst moment
INSIDE = (b"Traceback", b'File "', b"site-packages", b"/src/medmamba", b"root:x:", b"Error(")  # none may come back
LONGEST_NAME = 200
CROWD = 500  # connections
AT_ONCE = 8  # of the requests that are made by the thousand


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=None)
    parser.add_argument("--requests", type=int, default=10_000, help="of schemathesis; half as many damaged files more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    with service(arguments.model) as running:
        running.forbid_writing()
        rows = [*trials(running, CASES), *(crowd(running) for crowd in (idle_crowd, half_sent_crowd, large_crowd))]
    with service(arguments.model) as running:
        running.forbid_writing()
        fuzzed = {
            "described": described(running, arguments.requests, arguments.seed),
            "damaged": damaged(running, arguments.requests // 2, arguments.seed),
        }
    results = describe(arguments, rows, fuzzed)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    for row in rows:
        if not row["ok"]:
            print(json.dumps(row))
    print(json.dumps({"cases": len(rows), "not ok": results["not_ok"], "fuzzed": fuzzed}, indent=2))
    print(arguments.out)
    raise SystemExit(0 if results["reached"] else 1)


# one case


def trials(running: Service, cases: tuple[Case, ...]) -> Iterator[dict[str, Any]]:
    """A row for each; the slow ones side by side, at the end."""
    for case in cases:
        if not case.slow:
            yield trial(running, case)
    slow = [case for case in cases if case.slow]
    with ThreadPoolExecutor(max(1, len(slow))) as threads:
        yield from threads.map(lambda case: trial(running, case), slow)


def trial(running: Service, case: Case) -> dict[str, Any]:
    """Send a case and say what came of it.

    Returns:
        `case`, `sent`, `status` (None: closed without a reply), `ok`, `faults` (sentences), `seconds`,
        `megabytes_grown`.
    """
    pieces = case.pieces() if callable(case.pieces) else case.pieces
    running.forget_peak()
    before = running.memory()
    reply = exchange(running.port, pieces, seconds=SLOW if case.slow else 20.0)
    grown = max(0.0, running.memory("VmHWM") - before)
    faults = [*faults_of(case, reply), *after(running)]
    if grown > MOST_GROWTH:
        faults.append(f"memory grew by {grown:.0f} MB")
    return {
        "case": case.name,
        "sent": case.sent,
        "status": reply.status,
        "ok": not faults,
        "faults": faults,
        "seconds": round(reply.seconds, 2),
        "megabytes_grown": round(grown, 1),
    }


def faults_of(case: Case, reply: Reply) -> list[str]:
    """What is wrong with a reply, in sentences."""
    faults = []
    if reply.status not in case.right:
        faults.append(f"the status is {reply.status}, not one of {case.right}")
    if reply.status is None and not reply.closed:
        faults.append("no reply, and the connection was left open")
    if case.most_sent is not None and reply.sent > case.most_sent:
        faults.append(f"{reply.sent} bytes were taken before the reply")
    if any(words in reply.body for words in INSIDE):
        faults.append("the reply shows something of the inside")
    if {"set-cookie", "x-evil"} & set(reply.headers):
        faults.append("what was sent became a header of the reply")
    return faults + faults_of_body(reply)


def faults_of_body(reply: Reply) -> list[str]:
    """What is wrong with a body that is JSON; what is no HTTP is answered in plain text, below the application."""
    if not reply.headers.get("content-type", "").startswith("application/json"):
        return []
    told = json.loads(reply.body)
    if reply.status == 200:
        names = [image["name"] for image in told.get("images", [])]
        return ["a name came back longer than 200 characters"] if max(map(len, names), default=0) > LONGEST_NAME else []
    error = told.get("error", {})
    if not told.get("images") and not (error.get("status") == reply.status and error.get("message")):
        return [f"the error is not told as it should be: {told}"]
    return []


def after(running: Service) -> list[str]:
    """What is wrong with the service now."""
    if not running.alive:
        return ["the service has ended"]
    faults = []
    if (status := exchange(running.port, get("/healthz"), seconds=5).status) != 200:
        faults.append(f"afterwards /healthz answers {status}")
    if (status := exchange(running.port, post(PREDICT, form(("good.png", good())), MULTIPART)).status) != 200:
        faults.append(f"afterwards a good picture is answered with {status}")
    return faults


# crowds


@contextmanager
def connections(running: Service, number: int, start: bytes) -> Iterator[list[socket.socket]]:
    """So many connections, on each of which `start` was sent."""
    found: list[socket.socket] = []
    try:
        for _ in range(number):
            try:
                found.append(socket.create_connection((HOST, running.port), timeout=5))
                found[-1].sendall(start)
            except OSError:  # the service is free to refuse
                continue
        yield found
    finally:
        for connection in found:
            connection.close()


def idle_crowd(running: Service) -> dict[str, Any]:
    """Connections that say nothing must not keep others out."""
    running.forget_peak()
    before = running.memory()
    with connections(running, CROWD, b""):
        faults = after(running)
    grown = running.memory("VmHWM") - before
    return crowd_row("idle crowd", f"{CROWD} connections that say nothing; meanwhile a good picture", faults, grown)


def half_sent_crowd(running: Service) -> dict[str, Any]:
    """Uploads that stop half-way: /healthz answers meanwhile, and others are let in again once those are closed."""
    running.forget_peak()
    before, faults = running.memory(), []
    with connections(running, CROWD, opening("image/png", "Content-Length: 1000000") + bytes(100_000)):
        if (status := exchange(running.port, get("/healthz"), seconds=5).status) != 200:
            faults.append(f"meanwhile /healthz answers {status}")
        until = time.monotonic() + SLOW
        while (left := after(running)) and running.alive and time.monotonic() < until:
            time.sleep(1)
        faults += left
    grown = running.memory("VmHWM") - before
    words = f"{CROWD} uploads that stop at 100 kB of 1 MB; meanwhile /healthz, within {SLOW:.0f} s a good picture"
    return crowd_row("half-sent crowd", words, faults, grown)


def large_crowd(running: Service) -> dict[str, Any]:
    """The largest pictures that are taken, from many at once, and heat maps of them: memory stays below its cap."""
    most = json.loads(exchange(running.port, get("/v1/model")).body)["limits"]["max_pixels"]
    files = largest(most)
    sent = [post(path, content, "image/png") for path in (PREDICT, "/v1/explain") for content in files * 2]
    running.forget_peak()
    before = running.memory()
    with ThreadPoolExecutor(len(sent)) as threads:
        statuses = Counter(
            reply.status for reply in threads.map(lambda each: exchange(running.port, each, seconds=300), sent)
        )
    peak, faults = running.memory("VmHWM"), after(running)
    if not set(statuses) <= {200, 422, 429} or not statuses[200]:  # 422: a model without heat maps
        faults.append(f"the statuses are {dict(statuses)}")
    if peak > memory_cap():
        faults.append(f"memory reached {peak:.0f} MB, more than {memory_cap():.0f} MB")
    words = f"{len(sent)} pictures of {most} pixels at once, half of them to explain: real, 16 bits, RGBA, CMYK"
    return crowd_row("crowd of the largest", words, faults, peak - before)


def crowd_row(name: str, sent: str, faults: list[str], grown: float) -> dict[str, Any]:
    return {
        "case": name,
        "sent": sent,
        "status": 200 if not faults else None,
        "ok": not faults,
        "faults": faults,
        "megabytes_grown": round(grown, 1),
    }


# made by the thousand


def described(running: Service, number: int, seed: int) -> dict[str, Any]:
    """Requests made from the service's own description, half of them against it."""
    import hypothesis
    import requests
    import schemathesis
    from schemathesis import GenerationMode

    schema = schemathesis.openapi.from_url(f"http://{HOST}:{running.port}/openapi.json")
    assert schema.transport  # its modules are loaded here: several threads at once fail to, in Python 3.11
    sent: list[Future[tuple[str, str]]] = []

    def send(case: Any) -> tuple[str, str]:
        try:
            status = case.call(timeout=60).status_code
        except requests.RequestException as reason:
            return type(reason).__name__, case.as_curl_command()[:500]
        return str(status), case.as_curl_command()[:500] if status >= 500 else ""

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for half, mode in enumerate((GenerationMode.POSITIVE, GenerationMode.NEGATIVE)):

            @hypothesis.seed(2 * seed + half)
            @hypothesis.settings(
                max_examples=number // 2,
                deadline=None,
                database=None,
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(case=schema.as_strategy(generation_mode=mode))
            def make(case: Any) -> None:
                if len(sent) >= AT_ONCE:  # as many are under way, and no more are made meanwhile
                    wait(sent[-AT_ONCE : -AT_ONCE + 1])
                sent.append(threads.submit(send, case))

            make()
    return told(running, [future.result() for future in sent])


def damaged(running: Service, number: int, seed: int) -> dict[str, Any]:
    """Image files with one to four mutations."""
    files = good_files(None)

    def send(turn: int) -> tuple[str, str]:
        name, content, _ = mutated(files, seed, turn)
        reply = exchange(running.port, post(PREDICT, form((Path(name).name, content)), MULTIPART))
        failed = reply.status is None or reply.status >= 500
        return str(reply.status), f"file {turn} of seed {seed}, from {name}: {reply.status}" if failed else ""

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return told(running, list(threads.map(send, range(number))))


def told(running: Service, replies: list[tuple[str, str]]) -> dict[str, Any]:
    """Of requests made by the thousand: each a status and, if it must not be, what was sent."""
    failures = [words for _, words in replies if words] + after(running)
    return {
        "requests": len(replies),
        "statuses": dict(sorted(Counter(status for status, _ in replies).items())),
        "failures": failures[:20],
        "ok": not failures,
    }


def describe(arguments: argparse.Namespace, rows: list[dict[str, Any]], fuzzed: dict[str, Any]) -> dict[str, Any]:
    """The results file."""
    from importlib.metadata import version

    import torch
    from epoch_rate import provenance

    made = provenance(torch.device("cpu"), arguments.commit)
    made["versions"] |= {name: version(name) for name in ("fastapi", "uvicorn", "python-multipart", "schemathesis")}
    not_ok = [row["case"] for row in rows if not row["ok"]]
    return {
        **made,
        "cores": os.cpu_count(),
        "model": "in the package" if arguments.model is None else arguments.model.name,
        "most_megabytes_a_request": MOST_GROWTH,
        "cases": rows,
        "not_ok": not_ok,
        "fuzzed": fuzzed,
        "seed": arguments.seed,
        "reached": not not_ok and all(part["ok"] for part in fuzzed.values()),
    }


if __name__ == "__main__":
    main()
