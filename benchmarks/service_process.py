"""`medmamba serve` in a process of its own on loopback, and one HTTP exchange with it, byte by byte.

For `load_service.py`, `hostile_service.py` and the tests. Memory is read from /proc, so this is for Linux.
"""

from __future__ import annotations

import re
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

HOST = "127.0.0.1"
UNIT = Path(__file__).parents[1] / "deploy" / "medmamba.service"
START = 120.0  # seconds within which it must be ready
PIECE = 1 << 16
PROGRAM = ("-m", "medmamba")


@dataclass(frozen=True)
class Service:
    """A server that is ready."""

    process: subprocess.Popen[bytes]
    port: int
    log: list[bytes]  # lines of its standard output and error
    started: float  # seconds from the command to the first reply of /readyz

    def memory(self, kind: str = "VmRSS") -> float:
        """Megabytes (2^20 bytes) that are resident now, or the most (`VmHWM`) since the last `forget_peak`."""
        found = re.search(rf"^{kind}:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        return int(found[1]) / 1024 if found else 0.0

    def forget_peak(self) -> None:
        """The most that was resident is counted from here on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def forbid_writing(self) -> None:
        """From here on the system refuses it every byte that it would write to a file."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (0, 0))

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


@contextmanager
def service(model: Path | None, program: Sequence[str] = PROGRAM) -> Iterator[Service]:
    """Start `medmamba serve` on a free port, wait until it is ready, and end it.

    Args:
        model: As for the command; None for the model in the package.
        program: What Python runs.
    """
    port, log = free_port(), list[bytes]()
    words = [] if model is None else [str(model)]
    command = [sys.executable, *program, "serve", *words, "--port", str(port)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        reader = Thread(target=log.extend, args=(process.stdout,), daemon=True)  # a full pipe would stop the server
        reader.start()
        try:
            while exchange(port, get("/readyz"), seconds=5).status != 200:
                if process.poll() is not None or time.perf_counter() - start > START:
                    raise RuntimeError(f"the service did not start: {b''.join(log)[-2000:].decode()}")
                time.sleep(0.05)
            yield Service(process, port, log, time.perf_counter() - start)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
            reader.join(5)


def memory_cap() -> float:
    """Megabytes (2^20 bytes) of memory that the service is run with, as `deploy/` states them."""
    [gigabytes] = re.findall(r"^MemoryMax=(\d+)G$", UNIT.read_text(), re.MULTILINE)
    return 1024.0 * int(gigabytes)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclass
class Reply:
    """What came back.

    Attributes:
        status: Of the reply; None if there was none.
        sent: Bytes that were sent before the reply or the end.
        seconds: Until the reply was whole, or the connection closed.
        closed: Whether the server closed the connection.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    sent: int = 0
    seconds: float = 0.0
    closed: bool = False


def exchange(port: int, pieces: bytes | Iterable[bytes], *, seconds: float = 30.0) -> Reply:
    """Send bytes as they are, stop when the server answers or closes, and read one reply.

    Args:
        port: On loopback.
        pieces: What is sent; an iterable may pause between pieces.
        seconds: After which the reply is given up, counted from the end of sending.
    """
    reply, start, content = Reply(), time.perf_counter(), b""
    try:
        with socket.create_connection((HOST, port), timeout=seconds) as connection:
            reply.sent = _send(connection, pieces)
            limit = time.perf_counter() + seconds
            while not _whole(content) and time.perf_counter() < limit:
                if not select.select([connection], [], [], 0.1)[0]:
                    continue
                if not (piece := connection.recv(PIECE)):
                    reply.closed = True
                    break
                content += piece
    except (ConnectionError, TimeoutError):
        reply.closed = True
    reply.seconds = time.perf_counter() - start
    head, _, reply.body = content.partition(b"\r\n\r\n")
    if found := re.match(rb"HTTP/1\.1 (\d{3})", head):
        reply.status = int(found[1])
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        reply.headers = {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, _, value in lines}
        # what follows answers another request: some cases are read as two
        reply.body = reply.body[: int(reply.headers.get("content-length", len(reply.body)))]
    return reply


def _send(connection: socket.socket, pieces: bytes | Iterable[bytes]) -> int:
    """How many bytes went out before the server said something."""
    sent = 0
    for piece in [pieces] if isinstance(pieces, bytes) else pieces:
        if select.select([connection], [], [], 0)[0]:  # also seen by a sender that only waits
            return sent
        view = memoryview(piece)
        while view:
            readable, writable, _ = select.select([connection], [connection], [], 10.0)
            if readable or not writable:
                return sent
            try:
                part = connection.send(view[:PIECE])
            except ConnectionError:  # it closed; a reply may still lie there to be read
                return sent
            sent, view = sent + part, view[part:]
    return sent


def _whole(content: bytes) -> bool:
    """Whether a reply with its length is all there."""
    head, end, body = content.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(end) and length is not None and len(body) >= int(length[1])


def get(path: str, *, host: str = HOST, more: str = "") -> bytes:
    """A request without a body; `more` are header lines, each with its end."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode("latin-1")


def post(path: str, body: bytes, kind: str, *, host: str = HOST, more: str = "", length: int | None = None) -> bytes:
    """A request with a body of a content type; `length` is what it claims if that is not so."""
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n{more}\r\n"
    return head.encode("latin-1") + body


BOUNDARY = "cut-here"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def form(*parts: tuple[str, bytes], field: str = "files") -> bytes:
    """A multipart body of files, each a (name, content); names go out as they are, in UTF-8."""
    lines = []
    for name, content in parts:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        lines.append(head.encode(errors="surrogateescape") + b"Content-Type: image/png\r\n\r\n" + content + b"\r\n")
    return b"".join(lines) + f"--{BOUNDARY}--\r\n".encode()
