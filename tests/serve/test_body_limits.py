"""What a request may cost: bytes, seconds, company. By hand over ASGI, where every byte can be counted."""

import asyncio
import json

import pytest
from asking import png

from medmamba.serve.app import make_app
from medmamba.serve.limits import Bodies, Limits

SMALL = Limits(body=100_000, bodies=150_000, requests=2, pause=0.3, whole=0.8, linger=0.2)


class Caller:
    """One request: pieces of a body, each after a pause, and what came back."""

    def __init__(self, pieces=(), *, length=None, pause=0.0, leave=False, path="/v1/predict"):
        self.pieces, self.pause, self.leave = list(pieces), pause, leave
        self.sent, self.taken, self.closed = [], 0, asyncio.Event()
        size = (b"content-length", str(length).encode()) if length is not None else (b"transfer-encoding", b"chunked")
        headers = [(b"host", b"localhost"), (b"content-type", b"image/png"), size]
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
            "server": ("127.0.0.1", 1),
            "scheme": "http",
            "root_path": "",
        }

    async def receive(self):
        await asyncio.sleep(self.pause)
        if self.pieces:
            piece = self.pieces.pop(0)
            self.taken += len(piece)
            return {"type": "http.request", "body": piece, "more_body": bool(self.pieces) or self.leave}
        if not self.leave:
            await self.closed.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent[1:])


@pytest.fixture
def ask_all(service):
    """Send the requests of callers at once to a service with small limits."""

    def ask_all(*make, limits=SMALL):
        async def at_once():
            app = make_app(service, limits=limits)
            callers = [made() for made in make]
            await asyncio.gather(*(app(caller.scope, caller.receive, caller.send) for caller in callers))
            return callers

        return asyncio.run(at_once())

    return ask_all


def check_error(caller, status):
    assert caller.status == status
    error = json.loads(caller.body)["error"]
    assert error["status"] == status
    assert caller.headers["connection"] == "close"
    assert "content-security-policy" in caller.headers
    assert caller.sent[-1].get("more_body", False) is False
    return error["message"]


def test_a_body_that_is_stated_too_large_is_refused_before_any_of_it_is_read(service):
    async def refuse():
        caller = Caller([b"x" * 1000] * 500, length=500_000)
        taken = []

        async def send(message):
            taken.append(caller.taken)
            await caller.send(message)

        await make_app(service, limits=SMALL)(caller.scope, caller.receive, send)
        return caller, taken

    caller, taken = asyncio.run(refuse())
    assert "more than 100000 bytes" in check_error(caller, 413)
    assert taken[:2] == [0, 0]  # the reply was complete before a byte was asked for
    assert caller.taken == 500_000  # and then the rest was thrown away, so that the reply is read


def test_a_body_of_unstated_length_is_refused_when_it_has_come_to_the_limit(ask_all):
    (caller,) = ask_all(lambda: Caller([b"x" * 10_000] * 10_000))
    check_error(caller, 413)
    (endless,) = ask_all(lambda: Caller([b"x" * 10_000] * 100_000, pause=0.001))
    check_error(endless, 413)
    assert endless.taken < 100_000 + 10_000 * SMALL.linger / 0.001


def test_a_lie_about_the_length_changes_nothing(ask_all):
    (caller,) = ask_all(lambda: Caller([b"x" * 10_000] * 20, length=5))
    check_error(caller, 413)


def test_pauses_and_slow_bodies_end_with_408_and_nothing_more_is_read(ask_all):
    pausing, trickling = ask_all(
        lambda: Caller([b"x"] * 9, length=9, pause=1.0), lambda: Caller([b"x"] * 99, length=99, pause=0.1)
    )
    assert "too slowly" in check_error(pausing, 408)
    check_error(trickling, 408)
    assert trickling.taken <= 9


def test_all_bodies_together_are_bounded_and_given_back(ask_all):
    content = png(size=(100, 200))
    assert 50_000 < len(content) < 75_000
    whole = [lambda: Caller([content[:1000], content[1000:]], length=len(content), pause=0.05)] * 3
    callers = ask_all(*whole, limits=Limits(bodies=150_000))
    assert sorted(caller.status for caller in callers) == [200, 200, 429]
    refused = next(caller for caller in callers if caller.status == 429)
    assert "too many bytes" in check_error(refused, 429)
    assert refused.headers["retry-after"] == "1"


def test_too_many_requests_at_once(ask_all):
    content = png()
    callers = ask_all(*[lambda: Caller([content[:100], content[100:]], length=len(content), pause=0.05)] * 4)
    assert sorted(caller.status for caller in callers) == [200, 200, 429, 429]
    refused = next(caller for caller in callers if caller.status == 429)
    assert "2 requests are at work" in check_error(refused, 429)
    assert refused.headers["retry-after"] == "1"


def test_bodies_that_are_cut_off_leave_nothing_behind(service, caplog):
    """A caller who leaves midway is no failure, and the room that was held is free again."""
    content = png()

    async def leave():
        app = make_app(service, limits=SMALL)
        for path in ("/v1/predict", "/v1/explain"):
            for length in (len(content), None):
                caller = Caller([content[:500]], length=length, leave=True, path=path)
                await app(caller.scope, caller.receive, caller.send)
        # the layers, from outside
        layer, bodies = app.middleware_stack, None
        while layer is not None:
            bodies = layer if isinstance(layer, Bodies) else bodies
            layer = getattr(layer, "app", None)
        whole = Caller([content], length=len(content))
        await app(whole.scope, whole.receive, whole.send)
        return bodies.held, whole.status

    with caplog.at_level("INFO"):
        assert asyncio.run(leave()) == (0, 200)
    assert " 500 " not in caplog.text
    assert "failed" not in caplog.text


def test_whoever_takes_no_reply_is_left(service, caplog):
    async def refuse_to_take():
        caller = Caller([png()], length=len(png()))

        async def send(_):
            await asyncio.sleep(60)

        ends = make_app(service, limits=SMALL)(caller.scope, caller.receive, send)
        await asyncio.wait_for(ends, 30)  # long before `send` would

    with caplog.at_level("INFO"):
        asyncio.run(refuse_to_take())
    assert "not taken in time" in caplog.text


def test_nothing_is_answered_while_the_service_ends(service):
    service.close()

    async def ask():
        caller = Caller([png()], length=len(png()))
        await make_app(service)(caller.scope, caller.receive, caller.send)
        return caller

    assert "ending" in check_error(asyncio.run(ask()), 503)
