"""What a request may cost: bytes, seconds and company. Plain ASGI, so that a body is counted while it comes.

Bodies are held in memory, never on disk; what all of them may take together is `Limits.bodies`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medmamba.serve.errors import RefusedError, error_reply

MB = 1 << 20
TURNS = 4  # bodies of which a piece is taken in one turn of the event loop, so that a turn stays short


@dataclass(frozen=True)
class Limits:
    """What is taken from callers.

    Attributes:
        body: Bytes of one request.
        bodies: Bytes of all requests that are at work.
        files: Images in one request.
        requests: Requests at work; only those that bring images count.
        pause: Seconds without a byte of a body, or of a reply that is taken.
        whole: Seconds for a whole body.
        linger: Seconds in which the rest of a refused body is read and thrown away, so that its sender, who is still
            sending, gets to read why it was refused.
    """

    body: int = 64 * MB
    bodies: int = 512 * MB
    files: int = 32
    requests: int = 256
    pause: float = 10
    whole: float = 120
    linger: float = 3


class Bodies:
    """Counts bodies while they come, and ends what is too large, too slow, or too much at once."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.held = 0  # bytes of all requests at work
        self.turns = asyncio.Semaphore(TURNS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(self, Headers(scope=scope), receive, send)
        try:
            await self.app(scope, body.receive, body.send)
        finally:
            self.held -= body.held


class _Body:
    """One request's."""

    def __init__(self, all_: Bodies, headers: Headers, receive: Receive, send: Send) -> None:
        self.all, self.limits = all_, all_.limits
        self._receive, self._send = receive, send
        length = headers.get("content-length", "")
        self.stated = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0
        self.complete = self.stated == 0 and "transfer-encoding" not in headers
        self.came = self.held = 0
        self.until: float | None = None
        self.slow = self.unread = False

    async def receive(self) -> Message:
        if self.complete:
            return await self._receive()
        if self.until is None:
            self.until = time.monotonic() + self.limits.whole
            self._hold(self.stated)
        try:
            left = max(0.0, self.until - time.monotonic())
            message = await asyncio.wait_for(self._receive(), min(self.limits.pause, left))
        except TimeoutError:
            self.slow = True
            raise RefusedError(408, "the body came too slowly; send it again over a faster connection") from None
        if message["type"] == "http.request":
            self.came += len(message.get("body", b""))
            self._hold(self.came)
            self.complete = not message.get("more_body", False)
        if not self.complete:
            async with self.all.turns:  # the others wait in their sockets, and /healthz is answered meanwhile
                await asyncio.sleep(0)
        return message

    def _hold(self, size: int) -> None:
        """Keep account of so many bytes of this body, whose length may have been stated before they come."""
        if size > self.limits.body:
            raise RefusedError(413, f"the body has more than {self.limits.body} bytes; send fewer or smaller images")
        more = max(0, size - self.held)
        if self.all.held + more > self.limits.bodies:
            raise RefusedError(429, "too many bytes are being sent at once; try again soon", {"Retry-After": "1"})
        self.held += more
        self.all.held += more

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self.complete:
            self.unread = True  # the connection cannot be used for another request
            message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and self.unread and not self.slow:
            await self._pass({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._pass(message)

    async def _pass(self, message: Message) -> None:
        await asyncio.wait_for(self._send(message), self.limits.pause)  # whoever takes no reply holds no place

    async def _linger(self) -> None:
        until = time.monotonic() + self.limits.linger
        try:
            while (left := until - time.monotonic()) > 0:
                message = await asyncio.wait_for(self._receive(), left)
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
        except TimeoutError:
            return


class Crowd:
    """Lets only so many requests be at work that bring images; the others are told to come again."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif self.inside >= self.limits.requests:
            message = f"{self.inside} requests are at work, which is the limit; try again soon"
            await error_reply(429, message, {"Retry-After": "1"})(scope, receive, send)
        else:
            self.inside += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.inside -= 1
