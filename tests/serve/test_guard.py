"""Who is let in, what every reply carries, and what the service tells of itself."""

import re

import pytest
from asking import HOME, form, png, raw

from medmamba import __version__
from medmamba.serve.guard import is_loopback

EXPECTED = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
GOOD_HOSTS = ("localhost", "localhost:8000", "LOCALHOST", "127.0.0.1:1", "[::1]", "[::1]:8000", "scan.example:80")
BAD_HOSTS = ("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io", "0.0.0.0", "", " ")
ODD_HOSTS = ("localhost@evil.example", "evil.example/localhost", "[", "[::1", "localhost:x", "::1", "10.1.2.3", "a\\b")


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_names_of_this_service(ask, host):
    reply = ask("GET", "/healthz", headers={"host": host}, settings={"hosts": ["scan.example"]})
    assert reply.status_code == 200


@pytest.mark.parametrize("host", BAD_HOSTS + ODD_HOSTS[:4] + ODD_HOSTS[6:])
@pytest.mark.parametrize("address", ["/", "/healthz", "/v1/model"])
def test_other_names_are_refused(ask, host, address):
    reply = ask("GET", address, headers={"host": host}, settings={"hosts": ["scan.example"]})
    assert reply.status_code == reply.json()["error"]["status"] == 400
    assert "--allow-host" in reply.json()["error"]["message"]


def test_the_address_that_was_connected_to_is_a_name_of_ours_and_a_foreign_name_never(ask, service):
    assert ask("GET", "http://192.168.7.7:8000/healthz").status_code == 200
    assert ask("GET", "http://evil.example/healthz").status_code == 400


def test_pages_of_other_sites_are_refused(ask):
    for origin in ("http://evil.example", "null", "https://127.0.0.1:9999", "http://127.0.0.1"):
        reply = ask("POST", "/v1/predict", **{**raw(png()), "headers": {"content-type": "image/png", "origin": origin}})
        assert reply.status_code == reply.json()["error"]["status"] == 403
    own = ask("POST", "/v1/predict", **{**raw(png()), "headers": {"content-type": "image/png", "origin": HOME}})
    assert own.status_code == 200
    assert not [name for name in own.headers if name.startswith("access-control")]


def test_the_token(ask):
    settings = {"token": "a-long-secret"}
    for address in ("/v1/model", "/metrics", "/openapi.json", "/nothing"):
        for given in (None, b"Bearer wrong", b"Basic a-long-secret", b"Bearer", b"\xe9\xff"):
            reply = ask("GET", address, headers=given and {"authorization": given}, settings=settings)
            assert reply.status_code == reply.json()["error"]["status"] == 401
            assert reply.headers["www-authenticate"] == "Bearer"
    for address in ("/", "/healthz"):
        assert ask("GET", address, settings=settings).status_code == 200
    good = {"authorization": "bearer a-long-secret"}
    assert ask("GET", "/v1/model", headers=good, settings=settings).status_code == 200
    assert ask("POST", "/v1/predict", files=form(("a.png", png())), headers=good, settings=settings).status_code == 200
    assert ask("POST", "/v1/predict", files=form(("a.png", png())), settings=settings).status_code == 401


def test_every_reply_carries_the_headers(ask, service, monkeypatch):
    settings = {"token": "secret"}
    replies = [
        ask("GET", "/"),
        ask("GET", "/healthz"),
        ask("GET", "/v1/model"),
        ask("GET", "/nothing"),
        ask("PUT", "/v1/predict"),
        ask("GET", "/v1/model", settings=settings),
        ask("GET", "/", headers={"host": "evil.example"}),
        ask("POST", "/v1/predict", **raw(png())),
        ask("POST", "/v1/explain", **raw(png())),
        ask("POST", "/v1/predict", **raw(b"")),
        ask("POST", "/v1/predict", **raw(b"", "text/plain")),
        ask("GET", "/readyz"),
    ]
    monkeypatch.setattr(service.classifier, "predictions", None)
    replies.append(ask("POST", "/v1/predict", **raw(png())))
    assert [reply.status_code for reply in replies] == [200, 200, 200, 404, 405, 401, 400, 200, 200, 422, 415, 503, 500]
    for reply in replies:
        assert {name: reply.headers[name] for name in EXPECTED} == EXPECTED
        assert "server" not in reply.headers
        if reply.status_code >= 400:
            error = reply.json()["error"]
            assert error["status"] == reply.status_code
            assert re.fullmatch(r"[^\n]{10,300}", error["message"])
    assert replies[4].headers["allow"] == "POST"


def test_a_failure_of_ours_is_one_line_of_the_log_and_no_stack(ask, service, monkeypatch, caplog):
    def fail(*_):
        raise ValueError("Mustermann 1.1.1970 /home/secret")

    monkeypatch.setattr(service.classifier, "predictions", fail)
    with caplog.at_level("INFO"):
        reply = ask("POST", "/v1/predict", **raw(png()))
    assert reply.status_code == 500
    assert "Mustermann" not in reply.text + caplog.text
    assert "/home" not in reply.text + caplog.text
    assert re.search(r"/v1/predict failed: ValueError in test_guard:\d+", caplog.text)
    assert "Traceback" not in caplog.text


def test_the_model_is_told_without_a_path_of_this_machine(ask, run):
    reply = ask("GET", "/v1/model")
    about = reply.json()
    assert str(run) not in reply.text
    assert "secret-folder" not in reply.text
    assert about["facts"]["start"] == "the weights of run"
    assert about["classes"] == ["benign", "malignant", "größer/kleiner"]
    assert about["facts"]["classes"] == "benign, malignant, größer/kleiner"
    assert (about["calibrated"], about["prediction_sets"], about["scope"], about["explains"]) == (True,) * 4
    assert about["preprocessing"]["height"] == about["preprocessing"]["width"] == 48
    assert about["limits"] == {"files": 32, "body_bytes": 64 << 20, "max_pixels": 32_000_000}
    assert about["versions"]["medmamba"] == __version__
    assert about["card"].startswith("# medmamba")
    assert "not a medical device" in about["card"]


def test_the_description_is_there_and_pages_that_load_from_elsewhere_are_not(ask):
    paths = ask("GET", "/openapi.json").json()["paths"]
    assert {"/v1/predict", "/v1/explain", "/v1/picture", "/v1/model", "/healthz", "/readyz", "/metrics"} == set(paths)
    body = paths["/v1/predict"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "image/png", "application/dicom"} <= set(body)
    assert set(paths["/v1/predict"]["post"]["responses"]) >= {"200", "400", "401", "413", "415", "422", "429"}
    for address in ("/docs", "/redoc", "/page.py", "/index.html", "/../pyproject.toml", "/page/index.html"):
        assert ask("GET", address).status_code == 404


def test_the_page_is_there(ask):
    reply = ask("GET", "/")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.text.lower().startswith("<!doctype html>")


def test_wrong_parameters_are_told_in_a_sentence(ask):
    reply = ask("POST", "/v1/explain", params={"class": "x" * 1000}, **raw(png()))
    assert reply.status_code == 422
    assert len(reply.json()["error"]["message"]) < 400


def test_loopback():
    for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        assert is_loopback(host)
    for host in ("0.0.0.0", "::", "192.168.0.1", "scanner.example", ""):
        assert not is_loopback(host)


def test_the_counters(service):
    import asyncio

    import httpx

    from medmamba.serve.app import make_app

    async def count() -> str:
        transport = httpx.ASGITransport(make_app(service))
        async with httpx.AsyncClient(transport=transport, base_url=HOME) as client:
            await client.post("/v1/predict", files=form(("a.png", png()), ("b.png", b"x")))
            await client.post("/v1/predict", **raw(b"x"))
            await client.get("/secret/address")
            await client.request("BREW", "/healthz")
            return (await client.get("/metrics")).text

    text = asyncio.run(count())
    lines = text.splitlines()
    for expected in (
        'medmamba_requests_total{method="POST",route="/v1/predict",status="200"} 1',
        'medmamba_requests_total{method="POST",route="/v1/predict",status="422"} 1',
        'medmamba_requests_total{method="GET",route="none",status="404"} 1',
        'medmamba_request_seconds_count{route="/v1/predict"} 2',
        'medmamba_request_seconds_bucket{route="/v1/predict",le="+Inf"} 2',
        'medmamba_images_total{outcome="answered"} 1',
        'medmamba_images_total{outcome="unreadable"} 2',
        "medmamba_batches_total 1",
        "medmamba_requests_now 1",
    ):
        assert expected in lines
    assert "secret" not in text
    assert "BREW" not in text
    # Prometheus' text format: every family has its two lines before its samples
    sample = re.compile(r'([a-z_]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+')
    families = set()
    for line in lines:
        if line.startswith("# TYPE "):
            families.add(line.split()[2])
        elif not line.startswith("# HELP "):
            name = sample.fullmatch(line)[1]
            assert re.sub("_(bucket|sum|count)$", "", name) in families
