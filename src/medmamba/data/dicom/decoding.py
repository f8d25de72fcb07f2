"""One frame's bytes to its samples, by pydicom and the plug-ins for each kind of compression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import JpegImagePlugin

from medmamba.data.dicom.codestream import Codestream, read_jpeg, read_jpeg2000
from medmamba.data.dicom.description import Description
from medmamba.data.dicom.elements import damaged
from medmamba.errors import InputError

_HINT = "pip install 'medmamba[dicom]'"
_JPEG, _JPEG_LS, _JPEG_2000, _RLE = "JPEG", "JPEG-LS", "JPEG 2000", "RLE"


@dataclass(frozen=True)
class Syntax:
    """A transfer syntax.

    Attributes:
        name: In words.
        stream: Kind of compression; empty for none.
        plugins: Names by which pydicom knows what decompresses it, the better one first.
        package: What brings the plug-in.
    """

    name: str
    stream: str = ""
    plugins: tuple[str, ...] = ()
    package: str = ""


def _jpeg(name: str, *plugins: str) -> Syntax:
    return Syntax(name, _JPEG, plugins, "pylibjpeg-libjpeg")


def _jpeg_2000(name: str, *plugins: str) -> Syntax:
    return Syntax(name, _JPEG_2000, plugins, "pylibjpeg-openjpeg")


SYNTAXES: Mapping[str, Syntax] = {
    "1.2.840.10008.1.2": Syntax("Implicit VR Little Endian"),
    "1.2.840.10008.1.2.1": Syntax("Explicit VR Little Endian"),
    "1.2.840.10008.1.2.2": Syntax("Explicit VR Big Endian"),
    "1.2.840.10008.1.2.4.50": _jpeg("JPEG Baseline", "pillow"),
    "1.2.840.10008.1.2.4.51": _jpeg("JPEG Extended", "pylibjpeg"),
    "1.2.840.10008.1.2.4.57": _jpeg("JPEG Lossless", "pylibjpeg"),
    "1.2.840.10008.1.2.4.70": _jpeg("JPEG Lossless, Selection Value 1", "pylibjpeg"),
    "1.2.840.10008.1.2.4.80": Syntax("JPEG-LS Lossless", _JPEG_LS, ("pylibjpeg",), "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.81": Syntax("JPEG-LS Near-Lossless", _JPEG_LS, ("pylibjpeg",), "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.90": _jpeg_2000("JPEG 2000 Lossless", "pylibjpeg", "pillow"),
    "1.2.840.10008.1.2.4.91": _jpeg_2000("JPEG 2000", "pylibjpeg", "pillow"),
    "1.2.840.10008.1.2.4.201": _jpeg_2000("High-Throughput JPEG 2000 Lossless", "pylibjpeg"),
    "1.2.840.10008.1.2.4.202": _jpeg_2000("High-Throughput JPEG 2000 Lossless RPCL", "pylibjpeg"),
    "1.2.840.10008.1.2.4.203": _jpeg_2000("High-Throughput JPEG 2000", "pylibjpeg"),
    # by pydicom itself: the plug-in is faster, and panics on damage in a way that no `except Exception` catches
    "1.2.840.10008.1.2.5": Syntax("RLE Lossless", _RLE, ("pydicom",), "pydicom"),
}
_JP2_HEADER = 1 << 16  # bytes that may stand before a JPEG 2000 stream
# by process, the marker of the frame header: what each transfer syntax may hold
_PROCESSES = {
    "1.2.840.10008.1.2.4.50": {0xC0, 0xC1},
    "1.2.840.10008.1.2.4.51": {0xC0, 0xC1},
    "1.2.840.10008.1.2.4.57": {0xC3},
    "1.2.840.10008.1.2.4.70": {0xC3},
    "1.2.840.10008.1.2.4.80": {0xF7},
    "1.2.840.10008.1.2.4.81": {0xF7},
}


def require_pydicom() -> None:
    """Raise `InputError` if pydicom is not installed."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise InputError(f"is a DICOM file, and pydicom, which decodes them, is not installed: {_HINT}") from None


def syntax_of(uid: str) -> Syntax:
    """The transfer syntax; a file that states none is taken for uncompressed.

    Raises:
        InputError: It is none of `SYNTAXES`. The message does not repeat it, since anything may stand there.
    """
    if uid and uid not in SYNTAXES:
        raise InputError(f"is a DICOM file in a transfer syntax that is not read ({_name(uid)}); convert it to another")
    return SYNTAXES[uid or "1.2.840.10008.1.2"]


def _name(uid: str) -> str:
    from pydicom.uid import UID_dictionary

    return UID_dictionary[uid][0] if uid in UID_dictionary else "an unknown one"


def decode(data: bytes, uid: str, image: Description, *, bit: int = 0) -> np.ndarray:
    """Samples of one frame: (rows, columns), or RGB (rows, columns, 3), of the type that their bits take.

    Args:
        data: The frame as it lies in the file.
        uid: Of the transfer syntax.
        image: What the file says of it.
        bit: Where in the first byte a frame of one bit a pixel begins.

    Raises:
        InputError: What decompresses it is not installed, or it is damaged. A decoder's words are not repeated.
    """
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder

    syntax = syntax_of(uid)
    if image.allocated == 1 and not syntax.stream:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return bits[bit : bit + image.rows * image.columns].reshape(image.rows, image.columns)
    plugin = ""
    if syntax.stream:
        plugin = _plugin(uid, syntax)
        data, stream = _checked(data, uid, syntax, image)
        if stream is not None and stream.process in (0xC0, 0xC1) and stream.bits == 8:
            return _by_pillow(data, syntax, image)
        data = encapsulate([data], has_bot=False)
    options: dict[str, Any] = {  # pydicom's annotation is of a whole dictionary for each
        "rows": image.rows,
        "columns": image.columns,
        "number_of_frames": 1,
        "samples_per_pixel": image.samples,
        "photometric_interpretation": image.photometric,
        "bits_allocated": image.allocated,
        "bits_stored": image.stored,
        "pixel_representation": int(image.signed),
        "planar_configuration": int(image.planar),
        "pixel_keyword": "PixelData",
        "pixel_vr": "OB",  # so that bytes stay in their order
    }
    try:
        samples, _ = get_decoder(uid or "1.2.840.10008.1.2.1").as_array(
            data,
            index=0,
            validate=False,  # which warns; `describe` and the fragments' readers refuse more
            decoding_plugin=plugin,
            **options,
        )
    except Exception:  # decoders raise nearly anything, in words that may repeat what the file holds
        raise damaged(f"its pixels cannot be decoded ({syntax.name})") from None
    if samples.shape[:2] != (image.rows, image.columns) or samples.dtype.kind not in "ui":
        raise damaged(f"its pixels came out in another shape ({syntax.name})")
    return np.asarray(samples)


def _plugin(uid: str, syntax: Syntax) -> str:
    from pydicom.pixels import get_decoder

    available = get_decoder(uid).available_plugins
    for name in syntax.plugins:
        if name in available:
            return name
    raise InputError(f"is a DICOM file compressed as {syntax.name}, which needs {syntax.package}: {_HINT}")


def _by_pillow(data: bytes, syntax: Syntax, image: Description) -> np.ndarray:
    """Grey or RGB of a JPEG stream of 8 bits. What its own markers say of its colours goes before the header.

    Not by pydicom, which converts colours twice where an Adobe marker says that they are YCbCr, as they mostly are.
    """
    try:
        with JpegImagePlugin.JpegImageFile(BytesIO(data)) as picture:
            names = bytes(layer[0] for layer in picture.layer)
            told = "jfif" in picture.info or "adobe_transform" in picture.info or names == b"RGB"
            if not told and (image.photometric == "RGB" or names == b"rgb"):
                picture.draft("YCbCr", picture.size)  # which is: leave the samples as they are
            samples = np.array(picture)
    except Exception:  # as below
        raise damaged(f"its pixels cannot be decoded ({syntax.name})") from None
    if samples.shape != ((image.rows, image.columns, 3) if image.samples == 3 else (image.rows, image.columns)):
        raise damaged(f"its pixels came out in another shape ({syntax.name})")
    return samples


def _checked(data: bytes, uid: str, syntax: Syntax, image: Description) -> tuple[bytes, Codestream | None]:
    """The compressed frame and what it says of itself, if that is what the header says; nothing of RLE."""
    if syntax.stream == _RLE:
        if int.from_bytes(data[:4], "little") != image.samples * image.allocated // 8:
            raise damaged(f"its pixels cannot be decoded ({syntax.name})")
        return data, None
    if syntax.stream == _JPEG_2000:
        data = data[max(0, data.find(b"\xff\x4f\xff\x51", 0, _JP2_HEADER)) :]  # some have JP2 boxes before the stream
    stream = read_jpeg2000(data) if syntax.stream == _JPEG_2000 else read_jpeg(data)
    if stream is None or stream.process not in _PROCESSES.get(uid, {0}):
        raise damaged(f"its pixels cannot be decoded ({syntax.name})")
    if (stream.rows, stream.columns, stream.samples) != (image.rows, image.columns, image.samples):
        raise damaged(
            f"its compressed pixels are {stream.columns} x {stream.rows} of {stream.samples} samples, "
            f"its header says {image.columns} x {image.rows} of {image.samples}"
        )
    if stream.bits > image.allocated:
        raise damaged(f"its compressed pixels have {stream.bits} bits, its header says {image.allocated}")
    if syntax.stream != _JPEG_2000 and not data.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
        # libjpeg fills up what is missing, where the other decoders say so
        raise InputError("is cut off: its compressed pixels end before they should; copy it again")
    return data, stream
