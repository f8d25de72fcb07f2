"""Pictures that arrive together are one batch; those that nobody waits for any more are none of it."""

import asyncio
import threading

import httpx
import numpy as np
import pytest
from asking import HOME, png, raw

from medmamba.serve.app import make_app
from medmamba.serve.batching import Batcher
from medmamba.serve.service import Service


class Network:
    """Says the mean of each picture, and waits to be let on."""

    def __init__(self):
        self.sizes, self.go, self.busy = [], threading.Event(), threading.Event()

    def __call__(self, pixels):
        self.busy.set()
        assert self.go.wait(60)
        self.sizes.append(len(pixels))
        if (pixels == 255).all(axis=(1, 2, 3)).any():
            raise RuntimeError("out of memory")
        return pixels.mean(axis=(1, 2, 3)), np.arange(len(pixels))


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def batcher(network):
    batcher = Batcher(network, most=8, wait=0.02)
    yield batcher
    network.go.set()
    batcher.close()
    assert not batcher.alive


def picture(value):
    return np.full((1, 2, 2), value, np.uint8)


def test_what_arrives_while_the_network_is_busy_goes_together(batcher, network):
    futures = [batcher.put(picture(0))]
    assert network.busy.wait(60)
    futures += [batcher.put(picture(value)) for value in range(1, 20)]
    network.go.set()
    assert [float(future.result(10)[0]) for future in futures] == list(range(20))
    assert network.sizes == [1, 8, 8, 3]
    assert (batcher.batches, batcher.pictures) == (4, 20)


def test_cancelled_pictures_drop_out(batcher, network):
    first = batcher.put(picture(0))
    assert network.busy.wait(60)
    futures = [batcher.put(picture(value)) for value in range(1, 5)]
    assert futures[0].cancel()
    assert futures[3].cancel()
    assert not first.cancel()
    network.go.set()
    assert [float(future.result(10)[0]) for future in futures[1:3]] == [2, 3]
    assert network.sizes == [1, 2]


def test_an_error_reaches_those_who_wait_and_nobody_else(batcher, network):
    network.go.set()
    with pytest.raises(RuntimeError, match="out of memory"):
        batcher.put(picture(255)).result(10)
    with pytest.raises(ZeroDivisionError):
        batcher.run(lambda: 1 / 0).result(10)
    assert float(batcher.put(picture(3)).result(10)[0]) == 3


def test_other_work_runs_in_the_same_thread_and_in_turn(batcher, network):
    order = []
    before = batcher.put(picture(1))
    assert network.busy.wait(60)
    batcher.put(picture(2)).add_done_callback(lambda _: order.append("second"))
    work = batcher.run(lambda: order.append(threading.current_thread().name))
    after = batcher.put(picture(3))
    network.go.set()
    assert before.result(10)
    assert after.result(10)
    work.result(10)
    assert order == ["second", "medmamba-network"]
    assert network.sizes == [1, 1, 1]


def test_many_at_once_are_answered_as_one_by_one_in_fewer_calls_of_the_network(classifier):
    async def ask(many: int) -> tuple[list[dict], int]:
        service = Service(classifier)
        try:
            transport = httpx.ASGITransport(make_app(service))
            async with httpx.AsyncClient(transport=transport, base_url=HOME) as client:
                answers = []
                for start in range(0, 40, many):
                    seeds = range(start, start + many)
                    replies = await asyncio.gather(
                        *(client.post("/v1/predict", **raw(png(seed, (30 + seed, 40)))) for seed in seeds)
                    )
                    assert {reply.status_code for reply in replies} == {200}
                    answers += [reply.json()["images"][0]["probabilities"] for reply in replies]
            return answers, service.batches.batches
        finally:
            service.close()

    alone, calls = asyncio.run(ask(1))
    together, fewer = asyncio.run(ask(40))
    assert calls == 40
    assert fewer < 20
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_whoever_leaves_gives_up_the_place_in_the_batch(classifier):
    """The caller's disconnect cancels what was not begun."""

    async def leave() -> int:
        service = Service(classifier)
        hold = threading.Event()
        service.batches.run(lambda: hold.wait(60))
        app, sent = make_app(service), []
        body = [{"type": "http.request", "body": png(), "more_body": False}]

        async def receive():
            if body:
                return body.pop()
            await asyncio.sleep(0.2)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"image/png"), (b"content-length", b"%d" % len(png()))]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/predict",
            "raw_path": b"/v1/predict",
            "query_string": b"",
            "headers": headers,
            "server": ("127.0.0.1", 1),
            "scheme": "http",
            "root_path": "",
        }
        await app(scope, receive, send)
        hold.set()
        service.close()
        return service.batches.pictures

    assert asyncio.run(leave()) == 0
