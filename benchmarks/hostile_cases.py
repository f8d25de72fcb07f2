"""Requests that nobody sends by mistake, one row each, for `hostile_service.py` and its test.

A case is what is sent, byte by byte, and the statuses that are right. `None` stands for a connection that the server
closed without a reply. What must hold after every case is in `hostile_service.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from hostile_bytes import (
    PREDICT,
    SIDE,
    alone,
    array_of_objects,
    chunked,
    dicom_claim,
    endless,
    good,
    jpeg_claim,
    opening,
    part,
    parts,
    png_bomb,
    png_claim,
    png_text_bomb,
    slowly,
    tiff_claim,
)
from service_process import BOUNDARY, MULTIPART, form, get, post

MANY = 10_000


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        name: What is wrong with it.
        sent: In words.
        pieces: What is sent, or what makes it where it is large or takes time.
        right: Statuses that are right.
        slow: Whether it takes long by design.
        most_sent: Bytes that may go out before the server answers or closes; None for any number.
    """

    name: str
    sent: str
    pieces: bytes | Callable[[], bytes | Iterable[bytes]]
    right: tuple[int | None, ...]
    slow: bool = False
    most_sent: int | None = None


TOO_LARGE, NO_IMAGE, NO_KIND, BAD = (413, 422), (422,), (415,), (400,)
REFUSED = (400, 413, 415, 422)
GONE = (400, 408, None)  # closed, with or without a word
WRONG_HOSTS = (
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "[::ffff:8.8.8.8]", ""),
)
FILE = 'Content-Disposition: form-data; name="files"; filename="a.png"'

BOMBS = (
    Case("PNG bomb", f"{SIDE} x {SIDE} pixels of 1 bit, whole", lambda: alone(png_bomb()), TOO_LARGE),
    Case(
        "PNG bomb among good ones",
        "a good picture and the bomb: the good one is answered",
        lambda: parts(form(("a.png", good()), ("b.png", png_bomb()))),
        (200, 413),
    ),
    Case("PNG claim", "a header of 2,147,483,647 pixels a side", alone(png_claim()), TOO_LARGE),
    Case("PNG text bomb", "8 x 8 pixels, a comment that unpacks to 100 MB", lambda: alone(png_text_bomb()), NO_IMAGE),
    Case(
        "TIFF claim",
        f"a header of {SIDE} x {SIDE} pixels, 8 bytes of them",
        alone(tiff_claim(), "image/tiff"),
        TOO_LARGE,
    ),
    Case("JPEG claim", "a header of 65,500 x 65,500 pixels", alone(jpeg_claim(), "image/jpeg"), TOO_LARGE),
    Case(
        "DICOM claim",
        f"a header of {SIDE} x {SIDE} pixels of 16 bits, 8 bytes of them",
        alone(dicom_claim(), "application/dicom"),
        TOO_LARGE,
    ),
    Case(
        "DICOM of many frames",
        "a header of 2,000,000,000 frames of 1,000 x 1,000 pixels",
        alone(dicom_claim(2_000_000_000, 1000), "application/dicom"),
        TOO_LARGE,
    ),
)
SIZES = (
    Case(
        "10 GB announced",
        "Content-Length: 10,000,000,000, and then bytes",
        endless(opening("image/png", "Content-Length: 10000000000"), bytes(1 << 16)),
        (413,),
        most_sent=20_000_000,
    ),
    Case(
        "10 GB announced, form",
        "the same as a form",
        endless(opening(MULTIPART, "Content-Length: 10000000000"), bytes(1 << 16)),
        (413,),
        most_sent=20_000_000,
    ),
    Case(
        "endless chunks",
        "200 MB in chunks, without a length",
        endless(opening("image/png", "Transfer-Encoding: chunked"), b"10000\r\n" + bytes(1 << 16) + b"\r\n"),
        (413,),
    ),
    Case(
        "endless chunks, form",
        "200 MB of one part in chunks",
        endless(
            opening(MULTIPART, "Transfer-Encoding: chunked")
            + b"%x\r\n%b\r\n" % (len(part(FILE)[: -len(BOUNDARY) - 9]), part(FILE)[: -len(BOUNDARY) - 9]),
            b"10000\r\n" + bytes(1 << 16) + b"\r\n",
        ),
        (413,),
    ),
    Case(
        "expects to be asked",
        "Expect: 100-continue with 10 GB announced",
        opening("image/png", "Content-Length: 10000000000", "Expect: 100-continue"),
        (413, 417),
    ),
    Case(
        "chunks of a good picture",
        "chunked, as it should be",
        opening("image/png", "Transfer-Encoding: chunked") + chunked(good()),
        (200,),
    ),
    Case(
        "length too small",
        "Content-Length: 100 of a longer picture",
        post(PREDICT, good(), "image/png", length=100),
        (422,),
    ),
    Case("length negative", "Content-Length: -1", post(PREDICT, good(), "image/png", length=-1), BAD),
    Case(
        "two lengths",
        "two Content-Length that differ",
        opening("image/png", "Content-Length: 5", "Content-Length: 6") + b"aaaaaa",
        BAD,
    ),
    Case(
        "length and chunks",
        "both, as request smuggling has it",
        opening("image/png", "Content-Length: 5", "Transfer-Encoding: chunked") + chunked(good()),
        (200, 400),
    ),
    Case(
        "bad chunk",
        "a chunk size that is no number",
        opening("image/png", "Transfer-Encoding: chunked") + b"zz\r\naaaa\r\n",
        GONE,
    ),
    Case("no length", "a POST without a length or a body", opening("image/png"), (400, 411, 422)),
)
SENDERS = (
    Case(
        "slow head",
        "header lines, a byte a second",
        slowly(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "),
        GONE,
        slow=True,
    ),
    Case(
        "slow body",
        "a body of 1,000,000 bytes, a byte a second",
        slowly(opening("image/png", "Content-Length: 1000000")),
        GONE,
        slow=True,
    ),
    Case(
        "slow form",
        "a form of 1,000,000 bytes, a byte a second",
        slowly(opening(MULTIPART, "Content-Length: 1000000") + part(FILE)[:100]),
        GONE,
        slow=True,
    ),
    Case(
        "slow chunks",
        "a chunk of a byte a second",
        slowly(opening("image/png", "Transfer-Encoding: chunked"), b"1\r\na\r\n"),
        GONE,
        slow=True,
    ),
    Case("silence", "a connection on which nothing comes", slowly(b"", b""), GONE, slow=True),
    Case(
        "half a body",
        "a body that stops half-way",
        slowly(post(PREDICT, good(), "image/png")[:-100], b""),
        GONE,
        slow=True,
    ),
)
KINDS = (
    *(
        Case(f"type {kind}", "a good picture under this content type", alone(good(), kind), NO_KIND)
        for kind in ("text/plain", "application/json", "text/html", "application/pdf", "image/svg+xml")
    ),
    Case("no type", "no content type", post(PREDICT, good(), "x").replace(b"Content-Type: x\r\n", b""), NO_KIND),
    Case("text as image/png", "words under the content type of a picture", alone(b"Dear sir"), NO_IMAGE),
    Case("PDF as octets", "a PDF head", alone(b"%PDF-1.7\n" + bytes(999), "application/octet-stream"), NO_IMAGE),
    Case("program", "an ELF head", alone(b"\x7fELF" + bytes(999), "application/octet-stream"), NO_IMAGE),
    Case("archive", "a zip head", alone(b"PK\3\4" + bytes(999), "application/octet-stream"), NO_IMAGE),
    Case(
        "pickle",
        "a pickle that would run a command",
        alone(b"cos\nsystem\n(S'touch /tmp/pickled'\ntR.", "application/octet-stream"),
        NO_IMAGE,
    ),
    Case(
        "array of objects",
        "an .npy file that holds a pickle",
        alone(array_of_objects(), "application/octet-stream"),
        NO_IMAGE,
    ),
    Case("SVG", "an SVG that names a file", alone(b'<svg><image href="file:///etc/passwd"/></svg>'), NO_IMAGE),
    Case("empty", "no bytes", alone(b""), (400, 422)),
    Case("half a PNG", "the first half", alone(good()[:1500]), NO_IMAGE),
    Case("PNG as DICOM", "the content tells, not the type", alone(good(), "application/dicom"), (200,)),
)
HOSTS = (
    *(
        Case(f"host {host or 'empty'}", "GET /v1/model with this Host", get("/v1/model", host=host), BAD)
        for host in WRONG_HOSTS
    ),
    Case("no host", "HTTP/1.1 without Host", b"GET /v1/model HTTP/1.1\r\n\r\n", BAD),
    Case("two hosts", "a good and a wrong one", get("/v1/model", more="Host: evil.example\r\n"), BAD),
    Case(
        "picture for a wrong host",
        "a POST with a wrong Host",
        post(PREDICT, good(), "image/png", host="evil.example"),
        BAD,
    ),
)
NAMES = tuple(
    Case(f"name: {words}", "a good picture under this name", parts(form((name, good()))), right)
    for words, name, right in (
        ("path", "../../etc/passwd", (200,)),
        ("path of Windows", "..\\\\..\\\\windows\\\\win.ini", (200,)),
        ("absolute path", "/etc/passwd", (200,)),
        ("escaped newline", "a%0d%0aSet-Cookie: x=y.png", (200,)),
        ("newline", "a\r\nSet-Cookie: x=y\r\n\r\n.png", (200, 400, 415, 422)),
        ("10,000 characters", "a" * MANY + ".png", (200, 400, 413, 422)),
        ("10,000 characters of four bytes", "\U0001f600" * MANY, (200, 400, 413, 422)),
        ("right to left", "a\u202egnp.exe", (200,)),
        ("formula", "=HYPERLINK('http://evil.example','x')", (200,)),
        ("markup", "<script>alert(1)</script>.png", (200,)),
        ("zero byte", "a\0.png", (200, 400, 422)),
        ("not UTF-8", b"\xff\xfe.png".decode(errors="surrogateescape"), (200, 400, 422)),
        ("empty", "", (200, 400, 422)),
        ("spaces", "   ", (200,)),
        ("NIfTI", "a.nii.gz", (200, 422)),
    )
)
FORMS = (
    Case(
        "no boundary",
        "multipart/form-data without a boundary",
        parts(form(("a", good())), "multipart/form-data"),
        REFUSED,
    ),
    Case(
        "other boundary",
        "a boundary that never comes",
        parts(form(("a", good())), "multipart/form-data; boundary=x"),
        REFUSED,
    ),
    Case(
        "boundary of 10,000",
        "a boundary of 10,000 letters",
        parts(form(("a", good())), "multipart/form-data; boundary=" + "x" * MANY),
        REFUSED,
    ),
    Case("endless part header", "a header line of a part of 5 MB", parts(part("X: " + "a" * 5_000_000)), REFUSED),
    Case(
        "10,000 part headers",
        "header lines of one part",
        parts(part("\r\n".join(f"X-{i}: a" for i in range(MANY)))),
        REFUSED,
    ),
    Case("10,000 parts", "each a picture", parts(form(*[("a.png", good()[:80])] * MANY)), REFUSED),
    Case(
        "10,000 fields",
        "parts without file names",
        post(PREDICT, form(*[("a", b"x")] * MANY).replace(b'; filename="a"', b""), MULTIPART),
        REFUSED,
    ),
    Case("part without a name", "no name", parts(part("Content-Disposition: form-data", good())), REFUSED),
    Case("part without a head", "no header at all", parts(part("", good())), REFUSED),
    Case(
        "part without a file name",
        "a field, not a file",
        parts(part('Content-Disposition: form-data; name="files"', good())),
        REFUSED,
    ),
    Case("other field", "a file under another name", parts(form(("a.png", good()), field="image")), REFUSED),
    Case("empty file", "a part of no bytes", parts(form(("a.png", b""))), NO_IMAGE),
    Case("no parts", "the last boundary alone", parts(f"--{BOUNDARY}--\r\n".encode()), REFUSED),
    Case("no body", "a form of no bytes", parts(b""), REFUSED),
    Case("no last boundary", "cut off before its end", parts(form(("a.png", good()))[:-20]), (200, 400, 422)),
    Case(
        "form in a form",
        "a part that is a form",
        parts(part(FILE + "\r\nContent-Type: multipart/mixed; boundary=in", form(("b.png", good())))),
        NO_IMAGE,
    ),
    Case(
        "transfer encoding of a part",
        "base64, which nobody decodes",
        parts(part(FILE + "\r\nContent-Transfer-Encoding: base64", b"aGVsbG8=")),
        NO_IMAGE,
    ),
    Case(
        "charset",
        "a charset that is none",
        parts(part('Content-Disposition: form-data; name="_charset_"', b"no-such-charset")),
        REFUSED,
    ),
)
HEADS = (
    Case(
        "10,000 header lines",
        "of 20 bytes",
        get("/v1/model", more="".join(f"X-{i}: abcdefgh\r\n" for i in range(MANY))),
        (400, 431, None),
    ),
    Case("header of 5 MB", "one line", get("/v1/model", more="X: " + "a" * 5_000_000 + "\r\n"), (400, 431, None)),
    Case(
        "endless head",
        "200 MB of header lines",
        endless(get("/v1/model")[:-2], b"X: " + b"a" * 1000 + b"\r\n"),
        (400, 431, None),
        most_sent=20_000_000,
    ),
    Case("address of 100,000", "a path of 100,000 letters", get("/" + "a" * 100_000), (400, 404, 414, 431, None)),
    Case(
        "query of 20,000",
        "?name= of 20,000 letters",
        post(f"{PREDICT}?name={'a' * 20_000}", good(), "image/png"),
        (200, 400, 413, 414, 422),
    ),
    Case("path upwards", "GET /../../etc/passwd", get("/../../etc/passwd"), (400, 404)),
    Case("path upwards, escaped", "GET /%2e%2e/%2e%2e/etc/passwd", get("/%2e%2e/%2e%2e/etc/passwd"), (400, 404)),
    Case("zero byte in the path", "GET /%00", get("/%00"), (400, 404)),
    Case("not UTF-8 in the path", "GET /%ff%fe", get("/%ff%fe"), (400, 404)),
    Case(
        "another server's address", "GET http://evil.example/v1/model", get("http://evil.example/v1/model"), (400, 404)
    ),
    Case("method", "BREW /v1/predict", get(PREDICT).replace(b"GET", b"BREW"), (400, 405, 501)),
    Case("GET of predict", "the wrong method", get(PREDICT), (405,)),
    Case("DELETE of the model", "the wrong method", get("/v1/model").replace(b"GET", b"DELETE"), (405,)),
    Case("HTTP/2", "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 404, 405, 505, None)),
    Case("TLS", "the first bytes of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), (400, None)),
    Case("noise", "100,000 random bytes", lambda: np.random.default_rng(0).bytes(100_000), (400, None)),
    Case("line breaks in a header", "a lone CR in a value", get("/v1/model", more="X: a\rb\r\n"), (200, 400, None)),
    Case(
        "upgrade",
        "Upgrade: websocket",
        get("/v1/model", more="Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        (200, 400, 403, 404, 426),
    ),
)
QUESTIONS = (
    Case(
        "class that is none",
        "POST /v1/explain?class=../x",
        post("/v1/explain?class=..%2Fx", good(), "image/png"),
        (400, 404, 422),
    ),
    Case(
        "class of 20,000",
        "a class of 20,000 letters",
        post(f"/v1/explain?class={'a' * 20_000}", good(), "image/png"),
        (400, 404, 414, 422),
    ),
    Case(
        "two pictures to explain",
        "a form of two",
        post("/v1/explain", form(("a.png", good()), ("b.png", good())), MULTIPART),
        REFUSED,
    ),
    Case("bomb to explain", "the PNG bomb", lambda: post("/v1/explain", png_bomb(), "image/png"), TOO_LARGE),
    Case(
        "line break for a header",
        "?class= with CR and LF",
        post("/v1/explain?class=a%0d%0aX-Evil:%201", good(), "image/png"),
        (400, 404, 422),
    ),
    Case(
        "wrong token", "a token where none is wanted", get("/v1/model", more="Authorization: Bearer x\r\n"), (200, 401)
    ),
)
CASES = (*BOMBS, *SIZES, *KINDS, *HOSTS, *NAMES, *FORMS, *HEADS, *QUESTIONS, *SENDERS)
