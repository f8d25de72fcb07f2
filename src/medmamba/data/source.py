"""Where the bytes of an image come from: a file, or memory, for a service that never writes what it is sent."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from medmamba.errors import InputError


@dataclass(frozen=True)
class ImageBytes:
    """The content of an image file, whole.

    Attributes:
        name: What the file is called, without folders; messages begin with it.
        content: All of its bytes.
    """

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name


def open_source(source: Path | ImageBytes) -> BinaryIO:
    """Open an image for reading, from its first byte."""
    if isinstance(source, ImageBytes):
        return io.BytesIO(source.content)
    if source.exists() and not source.is_file():  # a pipe would make us wait for ever
        raise InputError("is no file; give an image file")
    return source.open("rb")


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file or of memory; the place in it stays."""
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    return size
