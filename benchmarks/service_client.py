"""Clients for `load_service.py`, each in a process of its own: many uploads at once, and one that asks for /healthz.

Plain sockets: a request is bytes that were made before, and a reply is parsed for no more than is counted.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from service_process import HOST, get

SLOWEST = 120.0  # seconds after which a reply counts as missing
EVERY = 0.05  # seconds between two questions for /healthz


@dataclass
class Uploads:
    """What many clients saw.

    Attributes:
        statuses: How often each status came; `no reply` where the connection ended without one.
        seconds: Of each answered upload, from its first byte to the whole reply.
        different: Answers that differ from the one expected.
        lasted: From the first upload to the last reply, seconds.
        processor: Seconds of processor time that this process took.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    different: int = 0
    lasted: float = 0.0
    processor: float = 0.0


def upload(
    port: int, requests: Sequence[bytes], expected: Sequence[list[float]], parallel: int, seconds: float
) -> Uploads:
    """Send requests from `parallel` clients for a time, each one after the other on one connection.

    Args:
        port: On loopback.
        requests: Whole ones, head and body; each client begins with another.
        expected: The probabilities that each should be answered with, to 1e-6.
        parallel: Clients.
        seconds: After which no client sends another; those under way are waited for.
    """
    found = Uploads()

    async def all_of_them() -> None:
        until = time.monotonic() + seconds
        await asyncio.gather(*(_client(port, requests, expected, start, until, found) for start in range(parallel)))

    start, processor = time.perf_counter(), time.process_time()
    asyncio.run(all_of_them())
    found.lasted, found.processor = time.perf_counter() - start, time.process_time() - processor
    return found


async def _client(
    port: int, requests: Sequence[bytes], expected: Sequence[list[float]], turn: int, until: float, found: Uploads
) -> None:
    connection: socket.socket | None = None
    while time.monotonic() < until:
        turn = (turn + 1) % len(requests)
        start = time.perf_counter()
        try:
            if connection is None:
                connection = await _connected(port)
            head, body = await asyncio.wait_for(_exchange(connection, requests[turn]), SLOWEST)
        except (OSError, EOFError, TimeoutError):
            found.statuses["no reply"] += 1
            connection = _closed(connection)
            continue
        status = head[9:12].decode()
        found.statuses[status] += 1
        if status == "200":
            found.seconds.append(time.perf_counter() - start)
            found.different += not _same(body, expected[turn])
        if re.search(rb"(?i)\r\nconnection: *close", head):
            connection = _closed(connection)
        if wait := re.search(rb"(?i)\r\nretry-after: *(\d+)", head):
            await asyncio.sleep(min(float(wait[1]), max(0.0, until - time.monotonic())))
    _closed(connection)


async def _connected(port: int) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await asyncio.get_running_loop().sock_connect(connection, (HOST, port))
    return connection


def _closed(connection: socket.socket | None) -> None:
    if connection is not None:
        connection.close()


async def _exchange(connection: socket.socket, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the reply; it may come before all is sent, and then the rest is not sent."""
    loop = asyncio.get_running_loop()
    sending = asyncio.create_task(loop.sock_sendall(connection, request))
    try:
        content = b""
        while (end := content.find(b"\r\n\r\n")) < 0:
            content += await _received(connection)
        head, body = content[:end], content[end + 4 :]
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        while length is not None and len(body) < int(length[1]):
            body += await _received(connection)
    finally:
        whole = sending.done()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return head if whole else head + b"\r\nconnection: close", body


async def _received(connection: socket.socket) -> bytes:
    piece = await asyncio.get_running_loop().sock_recv(connection, 1 << 16)
    if not piece:
        raise EOFError("the connection was closed")
    return piece


def _same(body: bytes, expected: list[float]) -> bool:
    found = probabilities(body)
    return len(found) == len(expected) and all(abs(a - b) <= 1e-6 for a, b in zip(found, expected, strict=True))


def probabilities(body: bytes) -> list[float]:
    """Of the first image of a reply of /v1/predict; empty if it has none."""
    images = json.loads(body).get("images") or [{}]
    return list((images[0].get("probabilities") or {}).values())


def ask_for_health(port: int, seconds: float) -> list[float]:
    """Milliseconds until /healthz answered, each time on a connection of its own; infinite where it did not.

    The questions are asked by the clock, whether or not earlier ones were answered: a server that hangs for a second is
    seen by all who come in that second.
    """

    async def one() -> float:
        start, connection = time.perf_counter(), None
        try:
            connection = await _connected(port)
            head, _ = await asyncio.wait_for(_exchange(connection, get("/healthz")), SLOWEST)
        except (OSError, EOFError, TimeoutError):
            return float("inf")
        finally:
            _closed(connection)
        return 1000 * (time.perf_counter() - start) if head.startswith(b"HTTP/1.1 200") else float("inf")

    async def all_of_them() -> list[float]:
        questions = []
        for _ in range(round(seconds / EVERY)):
            questions.append(asyncio.create_task(one()))
            await asyncio.sleep(EVERY)
        return await asyncio.gather(*questions)

    return asyncio.run(all_of_them())
