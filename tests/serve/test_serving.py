"""The service on a real port: what must be so for it to start, how it ends, and hostile connections."""

import asyncio
import contextlib
import json
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
import uvicorn
from asking import png, raw

from medmamba import boxed
from medmamba.cli import main
from medmamba.serve import TOKEN, connections
from medmamba.serve.app import make_app
from medmamba.serve.connections import Connection
from medmamba.serve.limits import Limits
from medmamba.serve.numbers import Numbers, Watch

MB = 1 << 20


@pytest.mark.parametrize("damage", ["weights", "description", "no bundle", "missing", "onnx"])
def test_a_model_that_cannot_be_used_keeps_the_service_from_starting(run, tmp_path, capsys, monkeypatch, damage):
    monkeypatch.setattr(socket, "create_server", lambda *_, **__: pytest.fail("the port was opened"))
    folder = tmp_path / "run"
    if damage != "missing":
        shutil.copytree(run, folder)
    if damage == "weights":
        (folder / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:-100])
    elif damage == "description":
        (folder / "bundle.json").write_text("{")
    elif damage == "no bundle":
        (folder / "bundle.json").unlink()
    elif damage == "onnx":
        folder = tmp_path / "model.onnx"
        folder.write_bytes(b"no model")
    assert main(["serve", str(folder), "--port", "0"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("medmamba: ")
    assert not [line for line in said if "Traceback" in line]


def test_other_machines_are_let_in_with_a_token_alone(run, capsys, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    for host in ("0.0.0.0", "::", "192.168.0.1"):
        assert main(["serve", str(run), "--host", host]) == 2
        assert TOKEN in capsys.readouterr().err
    monkeypatch.setenv(TOKEN, "   ")
    assert main(["serve", str(run), "--host", "0.0.0.0"]) == 2


@pytest.mark.parametrize("token", ["abc\udcff", "geheimw\u00f6rt", "two\tparts"])
def test_a_token_that_no_header_can_hold_is_refused(run, capsys, monkeypatch, token):
    monkeypatch.setenv(TOKEN, token)
    assert main(["serve", str(run), "--port", "0"]) == 2
    assert f"the token in {TOKEN} has characters that a header cannot hold" in capsys.readouterr().err


def test_no_pixels_are_no_limit(run, capsys):
    for limit in ("0", "-5"):
        assert main(["serve", str(run), "--port", "0", "--max-pixels", limit]) == 2
        assert "is no limit; give a whole number from 1" in capsys.readouterr().err


def test_a_request_that_outlasts_the_service_is_told_so(caplog):
    sent, numbers = [], Numbers()

    async def forever(scope, receive, send):
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    async def end():
        scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": []}
        task = asyncio.create_task(Watch(forever, numbers)(scope, None, send))
        await asyncio.sleep(0)
        task.cancel()  # as the server does when it has waited long enough
        await task

    with caplog.at_level("INFO", "medmamba"):
        asyncio.run(end())
    assert sent[0]["status"] == json.loads(sent[1]["body"])["error"]["status"] == 503
    assert "was not over when the service ended" in caplog.text
    assert numbers.now == 0


def test_a_port_that_is_taken_is_a_sentence(run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(run), "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 cannot be opened" in capsys.readouterr().err
    assert main(["serve", str(run), "--port", "99999"]) == 2


def test_a_network_that_does_not_answer_ends_the_service(run, capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("no kernel for this card")

    monkeypatch.setattr("medmamba.predictor.network.NetworkClassifier.examined", fail)
    assert main(["serve", str(run), "--port", "0"]) == 1
    assert "does not answer: RuntimeError: no kernel for this card" in capsys.readouterr().err


def test_without_a_model_the_one_in_the_box_is_served(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(boxed, "path", lambda: tmp_path / "in-the-box")
    assert main(["serve"]) == 2
    said = capsys.readouterr().err
    assert boxed.PURPOSE in said
    assert "in-the-box" in said


def test_a_process_answers_and_sigterm_ends_it_after_its_work(run, tmp_path):
    command = [sys.executable, "-m", "medmamba", "serve", str(run), "--port", "0", "--device", "cpu"]
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream)
    try:
        until = time.monotonic() + 60
        while (found := re.search(r"listening at (http://127.0.0.1:\d+)", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        replies = []
        address = f"{found[1]}/v1/predict?name=secret.png"  # while the network is still warming up
        asking = threading.Thread(target=lambda: replies.append(httpx.post(address, timeout=60, **raw(png()))))
        asking.start()
        assert httpx.get(f"{found[1]}/healthz", timeout=60).status_code == 200
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        asking.join()
    finally:
        process.kill()
    assert replies[0].status_code == 200
    said = log.read_text()
    assert re.search(r"POST /v1/predict 200 \d+ ms 1 images", said)
    assert "secret" not in said
    assert "Traceback" not in said


@contextlib.contextmanager
def server_port(service, limits: Limits):
    """Of a server in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        make_app(service, limits=limits), http=Connection, ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
def port(service, monkeypatch):
    """Of a server with small limits."""
    monkeypatch.setattr(connections, "HEAD", 0.5)
    with server_port(service, Limits(body=MB, bodies=4 * MB, pause=0.5, whole=1.5, linger=0.5)) as port:
        yield port


def everything(connection: socket.socket, seconds: float = 60) -> bytes:
    """What comes until the other side closes; fails if it does not in time."""
    connection.settimeout(seconds)
    pieces = []
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


def error_of(reply: bytes) -> dict:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"content-security-policy" in head.lower()
    return json.loads(body)["error"]


POST = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


def connect(port: int, start: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(start)
    return connection


def test_others_are_answered_while_slow_senders_are_waited_for(service, monkeypatch):
    monkeypatch.setattr(connections, "HEAD", 600)
    beginnings = [b"", b"GET /hea", POST + b"Content-Length: 1000\r\n\r\n"]
    with server_port(service, Limits(body=MB, bodies=4 * MB, pause=600, whole=600)) as port:
        waiting = [connect(port, beginning) for beginning in beginnings for _ in range(5)]
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60).status_code == 200
        assert httpx.post(f"http://127.0.0.1:{port}/v1/predict", timeout=60, **raw(png())).status_code == 200
        for connection in waiting:  # none was sent away for the others' sake
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
            connection.close()


def test_slow_senders_are_closed(port):
    silent, half_a_head = connect(port, b""), connect(port, b"GET /hea")
    used = connect(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    reply = b""
    while not reply.endswith(b"alive\n"):
        reply += used.recv(1 << 16)
    used.sendall(b"GET /hea")  # and no more of its second request
    silent_body = connect(port, POST + b"Content-Length: 1000\r\n\r\n")
    trickling = connect(port, POST + b"Content-Length: 1000\r\n\r\n")
    garbage = connect(port, b"\x16\x03\x01\x02\x00\x01\r\n\r\n")

    def trickle() -> None:
        with contextlib.suppress(OSError):
            while True:
                trickling.sendall(b"x")
                time.sleep(0.1)

    threading.Thread(target=trickle, daemon=True).start()
    assert everything(silent) == everything(half_a_head) == everything(used) == b""
    assert error_of(everything(silent_body))["status"] == 408
    assert error_of(everything(trickling))["status"] == 408
    assert error_of(everything(garbage))["status"] == 400
    assert httpx.post(f"http://127.0.0.1:{port}/v1/predict", timeout=60, **raw(png())).status_code == 200


def test_oversize_bodies_are_not_kept_and_the_reply_is_read(port):
    def resident() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    url = f"http://127.0.0.1:{port}/v1/predict"
    assert httpx.post(url, timeout=60, **raw(png())).status_code == 200
    before = resident()
    piece = b"x" * (64 << 10)
    stated = httpx.post(url, timeout=60, **raw(b"x" * (2 * MB)))  # more than the kernel keeps for us
    assert stated.status_code == stated.json()["error"]["status"] == 413

    chunked = socket.create_connection(("127.0.0.1", port))
    chunked.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 2000 * len(piece):
            chunked.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
            sent += len(piece)
    assert resident() - before < 30 * MB
    assert httpx.post(url, timeout=60, **raw(png())).status_code == 200


def test_expect_100_continue_is_told_no_before_a_byte_of_the_body(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(POST + b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        reply = everything(connection)
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in reply


def test_a_body_cut_off_midway_harms_nobody(port, caplog):
    with caplog.at_level("INFO"):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 5000)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
            assert error_of(everything(connection))["status"] == 400
        assert httpx.post(f"http://127.0.0.1:{port}/v1/predict", timeout=60, **raw(png())).status_code == 200
    assert "Traceback" not in caplog.text
    assert " 500 " not in caplog.text


def test_only_so_many_connections_are_held(port, monkeypatch):
    monkeypatch.setattr(connections, "MOST", 3)
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    time.sleep(0.1)
    with socket.create_connection(("127.0.0.1", port)) as one_more:
        assert everything(one_more, 0.4) == b""
    for connection in held:
        connection.close()
