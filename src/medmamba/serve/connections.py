"""Connections, below HTTP: what uvicorn leaves open for ever, and its one reply that is no JSON."""

from __future__ import annotations

import asyncio

import h11
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from medmamba.serve.errors import error_reply
from medmamba.serve.guard import HEADERS

MOST = 512  # connections at once; a process may often open 1024 files
HEAD = 10.0  # seconds for the head of a request, from the opening of the connection or its first byte
LAST = 30.0  # seconds for the last bytes of a reply, when the connection is to be closed


class Connection(H11Protocol):
    """One connection; uvicorn makes them."""

    head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self.head is None and not self.transport.is_closing():
            self._await_head()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(LAST, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with what is no HTTP, as every other reply does."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            reply = error_reply(400, "the request is no valid HTTP/1.1; see /openapi.json for what is understood")
            self._write(reply)
        self.transport.close()

    def _write(self, reply: Response) -> None:
        headers = [*reply.raw_headers, *((name.encode(), value.encode()) for name, value in HEADERS.items())]
        events = (
            h11.Response(status_code=reply.status_code, headers=[*headers, (b"connection", b"close")]),
            h11.Data(data=bytes(reply.body)),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")

    def _await_head(self) -> None:
        self.head = self.loop.call_later(HEAD, self.transport.abort)

    def _stop(self) -> None:
        if self.head is not None:
            self.head.cancel()
            self.head = None
