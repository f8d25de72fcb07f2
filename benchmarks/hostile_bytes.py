"""What hostile requests are made of: pictures that claim too much, bodies without end, senders that take their time."""

from __future__ import annotations

import io
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image
from service_process import BOUNDARY, MULTIPART, post

PREDICT = "/v1/predict"
SIDE = 20_000  # pixels of the side of a bomb
HUGE = 200_000_000  # bytes that are offered
SLOW = 150.0  # seconds for which a slow sender tries


def good() -> bytes:
    """A small picture as PNG."""
    return picture("PNG")


def picture(kind: str, side: int = 64, mode: str = "L") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


# pictures that claim to be large


def png_of(width: int, height: int, rows: Iterable[bytes], *, bits: int = 1, more: bytes = b"") -> bytes:
    """A PNG in grey of so many bits, packed row by row; `more` are chunks before the pixels."""
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for row in rows) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb() -> bytes:
    return png_of(SIDE, SIDE, (bytes(1 + SIDE // 8) for _ in range(SIDE)))


def png_claim() -> bytes:
    return png_of(2**31 - 1, 2**31 - 1, [b"\0\0"])


def png_text_bomb() -> bytes:
    """A comment that unpacks to 100 MB."""
    packer = zlib.compressobj(9)
    text = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    return png_of(8, 8, [bytes(2)] * 8, more=chunk(b"zTXt", b"Comment\0\0" + text))


def tiff_claim() -> bytes:
    """A header that names SIDE x SIDE pixels of 8 bits, in one strip of which 8 bytes are there."""
    tags = ((256, SIDE), (257, SIDE), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, SIDE), (279, SIDE * SIDE))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(tags)) + entries + bytes(4)


def jpeg_claim() -> bytes:
    """The header of a small picture with its size changed to 65,500 x 65,500."""
    content = bytearray(picture("JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    return bytes(content)


def dicom_claim(frames: int = 1, side: int = SIDE) -> bytes:
    """Explicit VR, little endian: a header of side x side pixels of 16 bits, and 8 bytes of pixels."""

    def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        length = struct.pack("<HI", 0, len(value)) if kind in (b"OW", b"OB") else struct.pack("<H", len(value))
        return struct.pack("<HH", group, number) + kind + length + value

    def short(value: int) -> bytes:
        return struct.pack("<H", value)

    meta = element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1")
    head = element(0x0002, 0x0000, b"UL", struct.pack("<I", len(meta))) + meta
    elements = (
        element(0x0008, 0x0016, b"UI", b"1.2.840.10008.5.1.4.1.1.7"),
        element(0x0028, 0x0002, b"US", short(1)),
        element(0x0028, 0x0004, b"CS", b"MONOCHROME2"),
        element(0x0028, 0x0008, b"IS", str(frames).encode()),
        element(0x0028, 0x0010, b"US", short(side)),
        element(0x0028, 0x0011, b"US", short(side)),
        element(0x0028, 0x0100, b"US", short(16)),
        element(0x0028, 0x0101, b"US", short(16)),
        element(0x0028, 0x0102, b"US", short(15)),
        element(0x0028, 0x0103, b"US", short(0)),
        element(0x7FE0, 0x0010, b"OW", bytes(8)),
    )
    return bytes(128) + b"DICM" + head + b"".join(elements)


def array_of_objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([[os.path.join, 1]], dtype=object), allow_pickle=True)
    return file.getvalue()


def largest(pixels: int) -> list[bytes]:
    """Small files of pictures of so many pixels, or a few less, that take much memory while they are read."""
    side = int(pixels**0.5)
    ramp = np.linspace(0, 1, side, dtype=np.float32)
    real = Image.fromarray(np.broadcast_to(ramp, (side, side)).copy())
    deep = Image.fromarray(np.broadcast_to((ramp * 65_535).astype(np.uint16), (side, side)).copy())
    saved = []
    for image, kind, options in (
        (real, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (deep, "PNG", {"compress_level": 1}),
        (Image.new("RGBA", (side, side), (9, 9, 9, 9)), "PNG", {"compress_level": 1}),
        (Image.new("CMYK", (side, side)), "JPEG", {}),
    ):
        file = io.BytesIO()
        image.save(file, kind, **options)
        saved.append(file.getvalue())
    return saved


# senders that take their time, or never end


def slowly(start: bytes, drop: bytes = b"a", every: float = 1.0) -> Callable[[], Iterator[bytes]]:
    """`start` at once, then a drop at a time."""

    def pieces() -> Iterator[bytes]:
        until = time.monotonic() + SLOW
        yield start
        while time.monotonic() < until:
            time.sleep(every)
            yield drop

    return pieces


def endless(start: bytes, piece: bytes, size: int = HUGE) -> Callable[[], Iterator[bytes]]:
    """`start`, then the same piece again and again, up to so many bytes."""

    def pieces() -> Iterator[bytes]:
        yield start
        for _ in range(size // len(piece)):
            yield piece

    return pieces


def chunked(content: bytes) -> bytes:
    """A whole body in chunks of 1,000 bytes."""
    pieces = (content[at : at + 1000] for at in range(0, len(content), 1000))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def opening(kind: str, *lines: str) -> bytes:
    """The head of a POST to predict, without a length unless a line gives one."""
    head = [f"POST {PREDICT} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}", *lines, "", ""]
    return "\r\n".join(head).encode()


def alone(content: bytes, kind: str = "image/png") -> bytes:
    """A picture for predict, as the whole body."""
    return post(PREDICT, content, kind)


def parts(body: bytes, kind: str = MULTIPART) -> bytes:
    """A form for predict."""
    return post(PREDICT, body, kind)


def part(head: str, content: bytes = b"x") -> bytes:
    """A whole body of one part with these header lines."""
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
