"""Pictures as files in memory, and forms of them."""

import io
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("benign", "malignant", "größer/kleiner")
HOME = "http://127.0.0.1:8000"


def png(seed: int = 0, size: tuple[int, int] = (40, 60)) -> bytes:
    """A picture of noise, of height and width."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@cache
def bomb(side: int = 20000) -> bytes:
    """A small PNG file of many black pixels, of one bit each."""
    rows = zlib.compress(bytes(side * (1 + side // 8)))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def form(*files: Path | tuple[str, bytes]) -> list[tuple[str, Any]]:
    """What httpx takes as `files`."""
    named = [(file.name, file.read_bytes()) if isinstance(file, Path) else file for file in files]
    return [("files", (name, content)) for name, content in named]


def raw(content: bytes, kind: str = "image/png") -> dict[str, Any]:
    """What httpx takes for a picture as the whole body."""
    return {"content": content, "headers": {"content-type": kind}}
