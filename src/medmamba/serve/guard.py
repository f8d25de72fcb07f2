"""Who may ask: by the Host and the Origin of a request, and by a token; and the headers on every reply.

A page of another site that the browser of a user on this machine has open can send requests here. Under a name of its
own that it lets point to this machine (DNS rebinding) it could also read the replies; hence the check of the Host.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medmamba.serve.errors import error_reply

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = ("/", "/page.css", "/page.js", "/healthz", "/readyz")  # without the token: they tell nothing of the model
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses what comes under a wrong name, from another site, or without the token."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] = (), token: str | None = None) -> None:
        """Take names under which the service is reached beside those of loopback, and the token, if one is needed."""
        self.app = app
        self.hosts = {*LOOPBACK, *(host.lower().strip("[]") for host in hosts)}
        self.token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = self._refusal(scope, Headers(scope=scope))
        if refused is None:
            await self.app(scope, receive, send)
        else:
            status, message = refused
            await error_reply(status, message, {"WWW-Authenticate": "Bearer"} if status == 401 else None)(
                scope, receive, send
            )

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        name = _name(host)
        if name is None or not (name in self.hosts or _own_address(name, scope)):
            return 400, "the Host of the request is no name of this service; start it with --allow-host NAME to add one"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return 403, "the request comes from a page of another site; open the page of this service"
        if self.token is None or scope["path"] in OPEN:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token):
            return 401, "the token is missing or wrong; send it as Authorization: Bearer TOKEN"
        return None


class SafeHeaders:
    """Puts `HEADERS` on every reply."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_safely)


def is_loopback(host: str) -> bool:
    """Whether what is bound to this name or address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name(host: str) -> str | None:
    """The name in a Host header, without the port, in small letters; None if it is none."""
    try:
        return urlsplit(f"//{host}").hostname if host and not set(host) & set("/\\?#@ ") else None
    except ValueError:
        return None


def _own_address(name: str, scope: Scope) -> bool:
    """Whether it is the address to which the connection was made; rebinding needs a name, and this is none."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return scope.get("server") is not None and name == scope["server"][0]
