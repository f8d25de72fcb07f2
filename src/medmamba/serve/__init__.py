"""The service: a page for people and addresses for programs, on one port of this machine."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medmamba.bundle import CARD
from medmamba.errors import FailedError, InputError, one_line

logger = logging.getLogger(__name__)

TOKEN = "MEDMAMBA_TOKEN"
KEEP_ALIVE = 5  # seconds of an idle connection
LAST_WORK = 20  # seconds for what is at work when the service is told to end; deploy/medmamba.service waits 30


def serve(
    model: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "auto",
    allow_hosts: Collection[str] = (),
    max_pixels: int | None = None,
) -> None:
    """Serve a model until the process is told to end; what is at work then is finished.

    Args:
        model: The folder that `train` wrote, or a `.onnx` file that `export` wrote.
        host: Name or address to bind to.
        port: To listen at; 0 takes a free one, which the log names.
        device: As for `medmamba.load`.
        allow_hosts: More names under which browsers reach the service.
        max_pixels: Larger pictures are refused; by default `medmamba.serve.service.MAX_PIXELS`.

    The port is opened when the model has been; the first answer, which compiles what has not been compiled on this
    machine, is waited for by those who ask in the meantime.

    Raises:
        InputError: The model cannot be used, the port cannot be opened, a package is missing, or the host is not of
            loopback and the environment holds no token.
        FailedError: The model was opened, but its network cannot answer.
    """
    _require_packages()
    from medmamba.predictor import load
    from medmamba.serve.app import make_app
    from medmamba.serve.service import MAX_PIXELS, Service, spare_a_core

    token = _token(host)
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    service = Service(load(model, device=device), card=_card(Path(model)), max_pixels=limit)
    spare_a_core()
    try:
        app = make_app(service, hosts=_names(host, allow_hosts), token=token)
        with _listening(host, port) as listener:
            _run(app, listener, host, service.warm_up())
    finally:
        service.close()


def _run(app: Any, listener: socket.socket, host: str, answered: Future[None]) -> None:
    """Answer until a signal comes, or until the network turns out not to answer, which is a `FailedError`."""
    import uvicorn

    from medmamba.serve.connections import Connection

    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # it would hold names of files
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=LAST_WORK,
    )
    shown = f"[{host}]" if ":" in host else host
    logger.info("listening at http://%s:%d; Ctrl-C ends it", shown, listener.getsockname()[1])
    server = uvicorn.Server(config)

    def end_if_failed(answered: Future[None]) -> None:
        server.should_exit = server.should_exit or answered.exception() is not None

    answered.add_done_callback(end_if_failed)
    with _signals_end_well():
        server.run(sockets=[listener])
    if answered.done() and (reason := answered.exception()) is not None:
        raise FailedError(f"the model was opened and does not answer: {one_line(reason)}")


@contextmanager
def _signals_end_well() -> Iterator[None]:
    """Uvicorn raises the signal that ended it once more; it has been obeyed by then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    if not 0 <= port < 1 << 16:  # some systems would take the remainder
        raise InputError(f"port {port} is none; give one from 1 to 65535, or 0 for a free one")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        listener = socket.create_server(address, family=family, backlog=1024)
    except OSError as reason:
        raise InputError(f"port {port} of {host} cannot be opened ({reason}); give another --port or --host") from None
    with listener:
        yield listener


def _token(host: str) -> str | None:
    from medmamba.serve.guard import is_loopback

    token = os.environ.get(TOKEN, "").strip()
    if not token and not is_loopback(host):
        raise InputError(
            f"{host} can be reached from other machines, and no token is set; put a long random one into the "
            f"environment variable {TOKEN}, or bind to 127.0.0.1"
        )
    if not (token.isascii() and token.isprintable()):
        raise InputError(f"the token in {TOKEN} has characters that a header cannot hold; make it of ASCII letters")
    return token or None


def _names(host: str, allowed: Collection[str]) -> set[str]:
    """Names under which the service is reached: not the one that means every address."""
    try:
        every = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        every = False
    return set(allowed) if every else {host, *allowed}


def _card(model: Path) -> str | None:
    """The card that lies in the model's folder, where there is one."""
    path = model / CARD
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _require_packages() -> None:
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as reason:
        raise InputError(f"the service needs packages: pip install 'medmamba[serve]' ({reason})") from None
