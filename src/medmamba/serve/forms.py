"""The images in the body of a request, in memory. Starlette's own parser would write large ones to disk."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from medmamba.data.source import ImageBytes
from medmamba.serve.errors import RefusedError
from medmamba.text import printable

FIELD = "files"
LONGEST_NAME = 200  # characters
UNNAMED = "image"
RAW = (
    *(f"image/{kind}" for kind in ("png", "jpeg", "tiff", "bmp", "webp", "gif")),
    "application/dicom",
    "application/octet-stream",
)
MULTIPART = "multipart/form-data"


async def read_images(request: Request, most: int) -> list[ImageBytes]:
    """The images of a request: parts of a form, or one as the whole body.

    Args:
        request: Its body has not been read.
        most: Images that are taken.

    Raises:
        RefusedError: 413, 415 or 422: too many, another content type, or a form that is none.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    name = kind.decode("latin-1")
    if name == MULTIPART:
        return await _read_form(request, options.get(b"boundary", b""), most)
    if name not in RAW:
        raise RefusedError(415, f"the content type is none of {MULTIPART}, {', '.join(RAW)}; send one of these")
    body = io.BytesIO()
    async for piece in request.stream():
        body.write(piece)
    return [ImageBytes(plain_name(request.query_params.get("name", "")), body.getvalue())]


def plain_name(name: str) -> str:
    """The name of a file without folders, as it may be shown, of at most `LONGEST_NAME` characters."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return printable(" ".join(last.split()))[:LONGEST_NAME] or UNNAMED


async def _read_form(request: Request, boundary: bytes, most: int) -> list[ImageBytes]:
    if not boundary:
        raise RefusedError(422, f"the content type {MULTIPART} names no boundary; let the client make the header")
    form = _Form(most)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for piece in request.stream():
            parser.write(piece)
        parser.finalize()
    except FormParserError:
        raise RefusedError(422, f"the body is not {MULTIPART} as its header says; send it again") from None
    if not form.ended:
        raise RefusedError(422, "the form is cut off before its end; send it again")
    if not form.images:
        raise RefusedError(422, f"the form holds no file; send images as parts with the name {FIELD!r} and a file name")
    return form.images


@dataclass
class _Form:
    """Collects parts while the parser finds them."""

    most: int
    images: list[ImageBytes] = field(default_factory=list)
    ended: bool = False
    _content: io.BytesIO = field(default_factory=io.BytesIO)
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _file: str = ""

    def callbacks(self) -> dict[str, object]:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end")
        return {f"on_{name}": getattr(self, name) for name in (*names, "headers_finished", "end")}

    def part_begin(self) -> None:
        if len(self.images) == self.most:
            raise RefusedError(413, f"the form holds more than {self.most} files; send them in several requests")
        self._content, self._disposition = io.BytesIO(), b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            raise RefusedError(422, f"a part of the form is no file with the name {FIELD!r}; send images alone")
        # the header was taken for latin-1; browsers write UTF-8
        self._file = options[b"filename"].decode("utf-8", errors="replace")

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self._content.write(memoryview(data)[start:end])

    def part_end(self) -> None:
        self.images.append(ImageBytes(plain_name(self._file), self._content.getvalue()))

    def end(self) -> None:
        self.ended = True
