"""DICOM files for tests, made on the spot, and pieces of files that no writer makes."""

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

EXPLICIT = "1.2.840.10008.1.2.1"
SECRET = "Marker^Nobody"


def dataset(
    pixels: np.ndarray, *, syntax: str = EXPLICIT, frames: list[bytes] | None = None, **elements: Any
) -> Dataset:
    """Pixels (h, w), (f, h, w) or (h, w, 3) as a data set; `frames` are what they were compressed to."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = SecondaryCaptureImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid(entropy_srcs=["a", "test"])
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        made.NumberOfFrames = len(pixels)
    made.Rows, made.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    made.BitsAllocated = made.BitsStored = 8 * pixels.itemsize
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in elements.items():
            setattr(made, name, value)
    made.HighBit = made.BitsStored - 1
    if frames is None:
        content = pixels.astype(pixels.dtype.newbyteorder(">" if syntax.endswith(".1.2.2") else "<")).tobytes()
        made.PixelData = content + b"\0" * (len(content) % 2)
        made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    else:
        made.PixelData = encapsulate(frames)
        made["PixelData"].is_undefined_length = True
        made["PixelData"].VR = "OB"
    return made


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """A file of `dataset(pixels, **options)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset(pixels, **options).save_as(path, enforce_file_format=True)
    return path


def item(**elements: Any) -> Dataset:
    """An item of a sequence."""
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def element(tag: int, kind: bytes, content: bytes, *, length: int | None = None) -> bytes:
    """One element as it stands in a little-endian file with types, with whatever length is said."""
    length = len(content) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind
    long = kind in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return head + (b"\0\0" + struct.pack("<I", length) if long else struct.pack("<H", length)) + content


def file_of(*elements: bytes, syntax: str = EXPLICIT) -> bytes:
    """A file of such elements."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    return bytes(128) + b"DICM" + element(0x00020010, b"UI", uid) + b"".join(elements)


def number(tag: int, value: int) -> bytes:
    return element(tag, b"US", struct.pack("<H", value))


def grey_header(rows: int, columns: int, *, bits: int = 8, more: bytes = b"") -> bytes:
    """What a file of grey pixels says of them; `more` are elements before its size, in order of tags."""
    return (
        number(0x00280002, 1)
        + element(0x00280004, b"CS", b"MONOCHROME2 ")
        + more
        + number(0x00280010, rows)
        + number(0x00280011, columns)
        + number(0x00280100, bits)
        + number(0x00280101, bits)
        + number(0x00280102, bits - 1)
        + number(0x00280103, 0)
    )
