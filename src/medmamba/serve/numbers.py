"""What the service counts, in Prometheus' text format, and its log: a line a request, without names of files.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medmamba.serve.errors import BROKEN, ENDING, error_reply

logger = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
IMAGES = "medmamba.images"  # where an answer notes in its scope how many were answered and unreadable
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
_METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
_QUIET = ("/healthz", "/readyz", "/metrics")  # asked every few seconds


class Numbers:
    """Counters since the start, of requests that were replied to.

    Attributes:
        requests: By (method, route, status).
        seconds: Sum of seconds by route.
        within: How many took at most so long, by (route, bucket).
        images: Answered and unreadable.
        now: Requests at work.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.within: Counter[tuple[str, float]] = Counter()
        self.images: Counter[str] = Counter(answered=0, unreadable=0)
        self.now = 0

    def count(self, method: str, route: str, status: int, seconds: float, images: Mapping[str, int]) -> None:
        """One request."""
        self.requests[method, route, status] += 1
        self.seconds[route] += seconds  # type: ignore[assignment]
        for bucket in BUCKETS:
            self.within[route, bucket] += seconds <= bucket
        self.images.update(images)

    def text(self, batches: int, pictures: int, ready: bool) -> str:
        """All of them, with those of the network."""
        totals: Counter[str] = Counter()
        for (_, route, _), count in self.requests.items():
            totals[route] += count
        took = []
        for route, total in sorted(totals.items()):
            took += [("_bucket", {"route": route, "le": str(edge)}, self.within[route, edge]) for edge in BUCKETS]
            took += [("_bucket", {"route": route, "le": "+Inf"}, total)]
            took += [("_sum", {"route": route}, self.seconds[route]), ("_count", {"route": route}, total)]
        requests = [
            ("", {"method": method, "route": route, "status": str(status)}, count)
            for (method, route, status), count in sorted(self.requests.items())
        ]
        images = [("", {"outcome": outcome}, count) for outcome, count in sorted(self.images.items())]
        return "".join(
            (
                _family("medmamba_requests_total", "counter", "Requests that were replied to.", requests),
                _family("medmamba_request_seconds", "histogram", "From the first byte to the reply.", took),
                _family("medmamba_requests_now", "gauge", "Requests at work.", [("", {}, self.now)]),
                _family("medmamba_images_total", "counter", "Images that were sent for prediction.", images),
                _family("medmamba_batches_total", "counter", "Times the network was asked.", [("", {}, batches)]),
                _family("medmamba_pictures_total", "counter", "Pictures it was asked of.", [("", {}, pictures)]),
                _family("medmamba_ready", "gauge", "Whether the model answers.", [("", {}, int(ready))]),
            )
        )


class Watch:
    """Counts and logs every request, and turns a failure of ours into a reply and one line of the log."""

    def __init__(self, app: ASGIApp, numbers: Numbers) -> None:
        self.app = app
        self.numbers = numbers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 0

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.numbers.now += 1
        try:
            await self.app(scope, receive, send_watched)
        except TimeoutError:  # of a reply that is not taken: leaving closes the connection
            logger.info("a reply was not taken in time")
        except asyncio.CancelledError:  # by the server, which ends and has waited as long as it does
            logger.info("%s was not over when the service ended", _route(scope))
            if not status:
                await error_reply(503, ENDING)(scope, receive, send_watched)
        except Exception as reason:
            logger.error("%s failed: %s in %s", _route(scope), type(reason).__name__, _place(reason))
            if not status:
                await error_reply(500, BROKEN)(scope, receive, send_watched)
        finally:
            self.numbers.now -= 1
            self._note(scope, status, time.monotonic() - start)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route, images = _route(scope), scope.get(IMAGES, {})
        self.numbers.count(method, route, status, seconds, images)
        if route not in _QUIET or status != 200:
            count = sum(images.values())
            logger.info("%s %s %d %.0f ms%s", method, route, status, 1000 * seconds, f" {count} images" * bool(count))


def _route(scope: Scope) -> str:
    """The route as we call it, never the address as it was asked for."""
    return getattr(scope.get("route"), "path", "none")


def _place(reason: BaseException) -> str:
    """Module and line where an error was raised."""
    trace = reason.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "nowhere" if trace is None else f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"


def _family(name: str, kind: str, help_: str, rows: Iterable[tuple[str, Mapping[str, str], Any]]) -> str:
    lines = [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
    for suffix, labels, value in rows:
        inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
        lines.append(f"{name}{suffix}{{{inside}}} {value}" if labels else f"{name}{suffix} {value}")
    return "\n".join(lines) + "\n"
