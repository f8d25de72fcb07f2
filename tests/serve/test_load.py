"""The clients of the load test count what a server does; a short run against the real service."""

import importlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
BODY = b'{"images": [{"probabilities": {"a": 0.25, "b": 0.75}}]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def client(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("service_client")


@pytest.fixture
def server():
    """One that reads a whole request of 1,000 bytes, or nothing of it, and gives the replies in turn; b"" is none."""
    listener = socket.create_server(("127.0.0.1", 0))
    replies, turn = [], iter(range(1_000_000))

    def answer(connection):
        with connection:
            while True:
                reply = replies[next(turn) % len(replies)]
                if not reply or reply == BUSY:
                    connection.sendall(reply)
                    return
                left = 1000
                while left:
                    piece = connection.recv(left)
                    if not piece:
                        return
                    left -= len(piece)
                connection.sendall(reply)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1], replies
    listener.close()


def test_answers_are_counted_and_compared(client, server):
    port, replies = server
    replies.append(OK)
    found = client.upload(port, [bytes(1000)], [[0.25, 0.75]], parallel=3, seconds=0.3)
    assert set(found.statuses) == {"200"}
    assert found.statuses["200"] == len(found.seconds) >= 3
    assert found.different == 0
    found = client.upload(port, [bytes(1000)], [[0.25, 0.7501]], parallel=1, seconds=0.1)
    assert found.different == found.statuses["200"] > 0


def test_a_client_that_is_told_to_wait_waits(client, server):
    port, replies = server
    replies.append(BUSY)
    found = client.upload(port, [bytes(1000)], [[]], parallel=2, seconds=0.4)
    assert found.statuses == {"429": 2}


def test_an_early_reply_is_read_although_the_sender_is_cut_off(client, server):
    port, replies = server
    replies.append(BUSY)
    found = client.upload(port, [bytes(20_000_000)], [[]], parallel=1, seconds=0.2)
    assert found.statuses == {"429": 1}


def test_a_connection_that_ends_without_a_reply_is_counted(client, server):
    port, replies = server
    replies.append(b"")
    found = client.upload(port, [bytes(1000)], [[]], parallel=1, seconds=0.1)
    assert set(found.statuses) == {"no reply"}


def test_health_is_asked_for_by_the_clock(client):
    """A server that answers nobody for half a second is seen by all who ask in that time, not by one."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

    def answer_late():
        threading.Event().wait(0.5)
        try:
            while True:
                with listener.accept()[0] as connection:
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except OSError:
            return

    threading.Thread(target=answer_late, daemon=True).start()
    found = client.ask_for_health(listener.getsockname()[1], 1.0)
    listener.close()
    assert len(found) == round(1.0 / client.EVERY)
    assert sum(value > 200 for value in found) >= 5


@pytest.mark.slow
def test_a_short_run_against_the_service(run, tmp_path):
    out = tmp_path / "load.json"
    short = ["--seconds", "5", "--parallel", "20", "--rounds", "1", "--round-seconds", "2", "--data", "phantoms:60"]
    subprocess.run(
        [sys.executable, "benchmarks/load_service.py", str(run), *short, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "src"},
        timeout=300,
    )
    results = json.loads(out.read_text())
    uploads = results["uploads"]
    assert results["reached"]["only_200_and_429"], uploads
    assert results["reached"]["memory"]
    assert uploads["health"]["asked"] == 100
    assert uploads["health"]["unanswered"] == 0
    assert 0.9 < uploads["mean_megabytes_a_picture"] < 1.1
    assert results["batching"]["ratio"] > 0


def test_quantiles_and_what_is_told(client):
    load = importlib.import_module("load_service")
    assert load.quantile([1.0, 2.0, 3.0, 4.0], 50) == 2.0
    assert load.quantile(list(range(1, 1001)), 99) == 990
    assert load.quantile([1.0, float("inf")], 100) is None
    told = load.told_of_health([5.0] * 30 + [float("inf")] + [7.0] * 9)
    assert told["unanswered"] == 1
    assert told["p50_ms"] == 5.0
    assert told["p99_ms"] is None
    assert told["slowest_of_each_second_ms"] == [5.0, None]


def test_pictures_are_made_a_megabyte(client):
    load = importlib.import_module("load_service")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    for kind in ("PNG", "JPEG"):
        assert 0.9 < len(load.of_a_megabyte(pixels, kind)) / load.MEGABYTE < 1.1
