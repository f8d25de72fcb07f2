"""Damaged image files through `medmamba.data.read_image`: nothing but its own error, within memory and time.

    python benchmarks/fuzz_reader.py [--files 100000] [--workers 2] [--seed 0] [--data FOLDER] [--out FILE]
    python benchmarks/fuzz_reader.py --keep 4711       (writes that file beside, to look at it)

File number n is made from (seed, n) alone: a small good file, one to four mutations, and settings of reading. Good
files are made on the spot; some transfer syntaxes have no encoder here, and come from pydicom's own test files; with
--data the small files of its folder `odd` are added. Each worker reads one file after the other under a limit of its
address space (RLIMIT_AS), and is ended when a file takes longer than allowed. Peak memory is the largest resident set
of a worker. DICOM files carry a patient's name that must not come back in an error, a warning, the log or the output.

Nothing else may be written either, but for TIFF: libtiff tells standard error of damage by itself, in words of its own,
and Pillow has no switch for it. Such files are counted.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import multiprocessing
import os
import resource
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medmamba.data import Reading, read_image
from medmamba.errors import InputError

RESULTS = Path(__file__).parent / "results" / "fuzz-reader.json"
GIGABYTES = 2.0  # of address space
SECONDS = 5.0  # a file
FINE = ("read", "InputError")
LARGEST = 50_000  # bytes of a file of --data that is mutated
MARKER = "Marker^Nobody"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PACKAGES = ("numpy", "pillow", "pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")
READINGS = (Reading(), Reading(frame="middle"), Reading(window="lung"), Reading(frame="2"))
# of pydicom's test files: kinds of compression that nothing here encodes
BROUGHT = (
    *("MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "JPGExtended.dcm"),
    *("SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPEG2000.dcm"),
    *("SC_rgb_gdcm_KY.dcm", "693_J2KI.dcm", "liver_1frame.dcm", "SC_rgb_rle_2frame.dcm", "SC_rgb_rle_16bit.dcm"),
)

Good = dict[str, bytes]  # by name


@dataclass(frozen=True)
class Outcome:
    """What became of one file: `read`, `InputError` or something that must not be."""

    kind: str
    seconds: float = 0.0
    megabytes: float = 0.0
    libtiff: bool = False  # whether it wrote to standard error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=None, help="a folder with odd/images and odd/dicom")
    parser.add_argument("--keep", type=int, default=None, help="write the file of this number and end")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--commit", default=None, help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    good = good_files(arguments.data)
    if arguments.keep is not None:
        name, content, reading = mutated(good, arguments.seed, arguments.keep)
        path = Path(f"fuzz-{arguments.keep}-{Path(name).name}")
        path.write_bytes(content)
        print(path, reading)
        return
    outcomes = run(good, arguments)
    results = describe(good, arguments, outcomes)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps({name: results[name] for name in ("counts", "others", "slowest", "peak_megabytes")}, indent=2))
    print(arguments.out)
    sys.exit(1 if results["others"] else 0)


def describe(good: Good, arguments: argparse.Namespace, outcomes: dict[int, Outcome]) -> dict[str, Any]:
    """The results file."""
    import torch
    from epoch_rate import provenance
    from processor import processor

    others = {number: outcome.kind for number, outcome in outcomes.items() if outcome.kind not in FINE}
    slowest = max(outcomes, key=lambda number: outcomes[number].seconds)
    formats = {number: mutated_name(good, arguments.seed, number).split("/")[0] for number in outcomes}
    by_format = Counter(f"{formats[number]}, {outcome.kind}" for number, outcome in outcomes.items())
    made = provenance(torch.device("cpu"), arguments.commit)
    made["versions"] |= {name: version(name) for name in PACKAGES}
    return {
        **made,
        "processor": processor(),
        "files": arguments.files,
        "first": arguments.first,
        "seed": arguments.seed,
        "good_files": len(good),
        "limits": {"seconds_a_file": SECONDS, "gigabytes_of_address_space": GIGABYTES},
        "counts": dict(Counter(outcome.kind for outcome in outcomes.values()).most_common()),
        "by_format": dict(sorted(by_format.items())),
        "others": {str(number): kind for number, kind in sorted(others.items())},
        "told_by_libtiff_on_standard_error": sum(outcome.libtiff for outcome in outcomes.values()),
        "slowest": {"number": slowest, "seconds": round(outcomes[slowest].seconds, 3)},
        "peak_megabytes": round(max(outcome.megabytes for outcome in outcomes.values())),
    }


# the good files


def good_files(data: Path | None) -> Good:
    """Small files of every format, by `format/what`."""
    found = {**pictures(), **dicoms()}
    if data is not None:
        for path in sorted((data / "odd").glob("*/*")):
            kind = {".dcm": "DICOM", ".tif": "TIFF", ".png": "PNG", ".jpg": "JPEG", ".gif": "GIF"}.get(path.suffix)
            if kind and 0 < path.stat().st_size <= LARGEST:
                found[f"{kind}/odd/{path.name}"] = path.read_bytes()
    return dict(sorted(found.items()))


def pictures() -> Good:
    noise = np.random.default_rng(0)
    grey = np.kron(noise.integers(0, 256, (6, 5), dtype=np.uint8), np.ones((6, 6), np.uint8))
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], -1)
    alpha = np.dstack([colour, grey])
    deep, real = grey.astype(np.uint16) * 200, grey.astype(np.float32) / 7
    exif = Image.Exif()
    exif[0x0112] = 6

    def saved(pixels: np.ndarray, kind: str, mode: str | None = None, **options: Any) -> bytes:
        file = io.BytesIO()
        picture = Image.fromarray(pixels)
        (picture.convert(mode) if mode else picture).save(file, kind, **options)
        return file.getvalue()

    more = [Image.fromarray(colour[::-1])]
    array = io.BytesIO()
    np.save(array, deep)
    return {
        "PNG/grey": saved(grey, "PNG"),
        "PNG/colour": saved(colour, "PNG"),
        "PNG/alpha": saved(alpha, "PNG", exif=exif),
        "PNG/palette": saved(alpha, "PNG", "P", transparency=3),
        "PNG/deep": saved(deep, "PNG"),
        "PNG/bits": saved(grey, "PNG", "1"),
        "PNG/animated": saved(colour, "PNG", save_all=True, append_images=more),
        "JPEG/grey": saved(grey, "JPEG"),
        "JPEG/colour": saved(colour, "JPEG", exif=exif),
        "JPEG/progressive": saved(colour, "JPEG", progressive=True),
        "JPEG/cmyk": saved(colour, "JPEG", "CMYK"),
        "TIFF/grey": saved(grey, "TIFF"),
        "TIFF/deep": saved(deep, "TIFF", tiffinfo={262: 0}),
        "TIFF/real": saved(real, "TIFF"),
        "TIFF/alpha": saved(alpha, "TIFF", compression="tiff_lzw"),
        "TIFF/deflate": saved(deep, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF/jpeg": saved(colour, "TIFF", compression="jpeg"),
        "TIFF/fax": saved(grey, "TIFF", "1", compression="group4"),
        "TIFF/packbits": saved(colour, "TIFF", "CMYK", compression="packbits"),
        "TIFF/pages": saved(colour, "TIFF", save_all=True, append_images=more),
        "TIFF/big": saved(grey, "TIFF", big_tiff=True),
        "GIF/pages": saved(colour, "GIF", save_all=True, append_images=more),
        "BMP/colour": saved(colour, "BMP"),
        "BMP/palette": saved(colour, "BMP", "P"),
        "WebP/colour": saved(colour, "WEBP"),
        "WebP/pages": saved(alpha, "WEBP", save_all=True, append_images=more, lossless=True),
        "npy/deep": array.getvalue(),
    }


def dicoms() -> Good:
    """One of each transfer syntax that is read, with sequences, windows and a name."""
    from pydicom.data import get_testdata_file
    from pydicom.encaps import encapsulate

    noise = np.random.default_rng(1)
    grey = np.kron(noise.integers(0, 4096, (5, 6), dtype=np.uint16), np.ones((5, 5), np.uint16))
    colour = np.stack([grey >> 4] * 3, -1).astype(np.uint8)
    found = {}
    for name, syntax in {"implicit": "1.2", "explicit": "1.2.1", "big endian": "1.2.2"}.items():
        found[f"DICOM/{name}"] = dicom(grey, f"1.2.840.10008.{syntax}")
    found["DICOM/frames"] = dicom(np.stack([grey, grey // 2]), "1.2.840.10008.1.2.1")
    found["DICOM/colour"] = dicom(colour, "1.2.840.10008.1.2.1")
    for name, pixels in {"grey": (grey >> 4).astype(np.uint8), "colour": colour}.items():
        for kind, end, suffix in (("jpeg", "50", "JPEG"), ("jpeg2000", "91", "JPEG2000")):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, suffix, **({"no_jp2": True} if end == "91" else {}))
            frame = encapsulate([file.getvalue()])
            found[f"DICOM/{kind} {name}"] = dicom(pixels, f"1.2.840.10008.1.2.4.{end}", frame)
    for name in BROUGHT:
        path = get_testdata_file(name, download=False)
        if path is not None and Path(path).stat().st_size <= LARGEST:
            found[f"DICOM/{name}"] = Path(path).read_bytes()
    return found


def dicom(pixels: np.ndarray, syntax: str, frames: bytes | None = None) -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3"
    made.PatientName, made.PatientID = MARKER, MARKER
    colour = pixels.shape[-1] == 3
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = ("YBR_FULL_422" if frames else "RGB") if colour else "MONOCHROME1"
    if syntax.endswith(".91") and colour:
        made.PhotometricInterpretation = "YBR_RCT"
    made.NumberOfFrames = 1 if colour or pixels.ndim == 2 else len(pixels)
    made.Rows, made.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    made.BitsAllocated = 8 * pixels.itemsize
    made.BitsStored = 8 if pixels.itemsize == 1 else 12
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, 0
    if colour:
        made.PlanarConfiguration = 0
    made.WindowCenter, made.WindowWidth = ["1000", "2000"], ["2000", "100"]
    made.RescaleSlope, made.RescaleIntercept = "1", "-1024"
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [16, 0, 12], bytes(range(32))
    made.VOILUTSequence = [table]
    if frames is None:
        made.PixelData = pixels.astype(pixels.dtype.newbyteorder(">" if syntax.endswith("1.2.2") else "<")).tobytes()
        made["PixelData"].VR = "OW"
    else:
        made.PixelData = frames
        made["PixelData"].is_undefined_length = True
        made["PixelData"].VR = "OB"
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(file, enforce_file_format=True)
    return file.getvalue()


# mutations: (content, random numbers, another good file) to content


def flip_bits(content: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    for _ in range(rng.integers(1, 9)):
        content[place(content, rng)] ^= 1 << rng.integers(8)
    return content


def set_bytes(content: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    for _ in range(rng.integers(1, 9)):
        content[place(content, rng)] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.integers(256)]))
    return content


def truncate(content: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    return content[: place(content, rng) + 1]


def insert(content: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    at = place(content, rng)
    return content[:at] + rng.bytes(int(rng.integers(1, 65))) + content[at:]


def delete(content: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    at = place(content, rng)
    return content[:at] + content[at + int(rng.integers(1, 129)) :]


def repeat(content: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    at = place(content, rng)
    return content[:at] + content[at : at + int(rng.integers(1, 257))] * int(rng.integers(2, 20)) + content[at:]


def change_length(content: bytearray, rng: np.random.Generator, _: bytes) -> bytearray:
    """A number of two or four bytes in either order becomes an extreme one, or nearly what it was."""
    size, order = int(rng.choice([2, 4])), str(rng.choice(["<", ">"]))
    at = min(place(content, rng), max(0, len(content) - size))
    old = int.from_bytes(content[at : at + size], "little" if order == "<" else "big")
    most = 256**size - 1
    new = int(rng.choice([0, 1, 2, most, most - 1, most // 2, most // 2 + 1, old + 1, old - 1, 2 * old, 65535, 30000]))
    content[at : at + size] = struct.pack(order + {2: "H", 4: "I"}[size], new % (most + 1))
    return content


def splice(content: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    at = place(content, rng)
    return bytearray(other[: int(rng.integers(1, min(len(other), 1024)))]) + content[at:]


MUTATIONS: tuple[Callable[[bytearray, np.random.Generator, bytes], bytearray], ...] = (
    *(flip_bits, set_bytes, truncate, insert, delete, repeat, change_length, change_length, splice),
)


def place(content: bytearray, rng: np.random.Generator) -> int:
    """Somewhere; every second time near the beginning, where the numbers are that matter."""
    near = min(len(content), 1024) if rng.random() < 0.5 else len(content)
    return int(rng.integers(max(1, near)))


def mutated(good: Good, seed: int, number: int) -> tuple[str, bytes, Reading]:
    """Name, content and settings of a file."""
    rng = np.random.default_rng([seed, number])
    names = list(good)
    name, other = names[rng.integers(len(names))], names[rng.integers(len(names))]
    content = bytearray(good[name])
    for _ in range(min(4, rng.geometric(0.5))):
        mutation = MUTATIONS[rng.integers(len(MUTATIONS))]
        content = mutation(content, rng, good[other]) or bytearray(b"\0")
    if name.startswith("PNG") and rng.random() < 0.7:
        content = with_checksums(content)
    return name, bytes(content), READINGS[rng.integers(len(READINGS))]


def mutated_name(good: Good, seed: int, number: int) -> str:
    """The name alone, as `mutated` draws it."""
    return list(good)[np.random.default_rng([seed, number]).integers(len(good))]


def with_checksums(content: bytearray) -> bytearray:
    """A PNG whose chunks have the right sums again, so that more than sums is tested."""
    at = 8
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if end + 4 > len(content):
            break
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[at + 4 : end]))
        at = end + 4
    return content


# the workers


def run(good: Good, arguments: argparse.Namespace) -> dict[int, Outcome]:
    """Every file to its outcome. A worker that dies or takes too long is replaced."""
    from rich.progress import track

    numbers = iter(range(arguments.first, arguments.first + arguments.files))
    shown = iter(track(range(arguments.files), "reading damaged files"))
    outcomes: dict[int, Outcome] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        workers = [Worker(good, arguments.seed, Path(folder)) for _ in range(arguments.workers)]
        idle = list(workers)
        while True:
            for worker in idle:
                worker.give(next(numbers, None))
            busy = [worker for worker in workers if worker.number is not None]
            if not busy:
                break
            ready = wait([worker.pipe for worker in busy], timeout=0.5)
            idle = []
            for worker in busy:
                outcome = worker.take(worker.pipe in ready)
                if outcome is not None:
                    outcomes[worker.number or 0] = outcome
                    idle.append(worker)
                    next(shown, None)
        for worker in workers:
            worker.end()
    next(shown, None)
    return outcomes


class Worker:
    """A process that reads one file at a time."""

    def __init__(self, good: Good, seed: int, folder: Path) -> None:
        self.given = (good, seed, folder)
        self.number: int | None = None
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=work, args=(far, *self.given), daemon=True)
        self.process.start()
        far.close()
        self.pipe.recv()  # it is ready

    def give(self, number: int | None) -> None:
        self.number, self.since = number, time.monotonic()
        if number is not None:
            self.pipe.send(number)

    def take(self, ready: bool) -> Outcome | None:
        """The outcome of the file that was given, if there is one by now."""
        if ready:
            try:
                return self.pipe.recv()
            except (EOFError, ConnectionResetError):
                self.process.join()
                outcome = Outcome(f"died with {self.process.exitcode}")
        elif time.monotonic() - self.since > 2 * SECONDS:
            self.process.kill()
            outcome = Outcome("took too long", time.monotonic() - self.since)
        else:
            return None
        self.process.join()
        self.start()
        return outcome

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def work(pipe: Connection, good: Good, seed: int, folder: Path) -> None:
    """Read files by number until killed."""
    said = folder / f"{os.getpid()}.stderr"
    output = os.open(said, os.O_CREAT | os.O_RDWR)
    for stream in (1, 2):
        os.dup2(output, stream)
    records = Records()
    logging.getLogger().addHandler(records)
    warnings.simplefilter("always")
    read_image_once(folder)  # what decoders load at first is no file's fault
    resource.setrlimit(resource.RLIMIT_AS, (int(GIGABYTES * 2**30),) * 2)
    path = folder / f"{os.getpid()}.bin"
    pipe.send(None)
    while True:
        _, content, reading = mutated(good, seed, pipe.recv())
        path.write_bytes(content)
        records.texts.clear()
        begun = time.perf_counter()
        kind = outcome_of(path, reading)
        seconds = time.perf_counter() - begun
        if seconds > SECONDS:
            kind = "took too long"
        elif any(MARKER in text for text in records.texts):
            kind = "the log repeats a name"
        elif records.foreign:
            kind, records.foreign = f"a decoder logged: {records.foreign}", ""
        words = said.read_bytes()
        os.ftruncate(output, 0)
        os.lseek(output, 0, os.SEEK_SET)
        libtiff = bool(words) and content[:4] in TIFF
        if (words and not libtiff) or MARKER.encode() in words or path.name.encode() in words:
            kind = f"written to the output: {words[:200]!r}"
        pipe.send(Outcome(kind, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, libtiff))


def read_image_once(folder: Path) -> None:
    for name, content in {**pictures(), **dicoms()}.items():
        path = folder / f"{os.getpid()}.good"
        path.write_bytes(content)
        try:
            read_image(path, tell=False)
        except InputError as reason:
            raise SystemExit(f"{name} is not read: {reason}") from None


def outcome_of(path: Path, reading: Reading) -> str:
    try:
        pixels = read_image(path, reading)
    except InputError as reason:
        text = str(reason)
        if MARKER in text:
            return "the error repeats a name"
        return "InputError" if str(path) in text and "\n" not in text else f"no sentence: {text[:200]}"
    except BaseException as reason:
        return f"{type(reason).__name__}: {str(reason)[:200]}"
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)) or 0 in pixels.shape:
        return f"read as {pixels.dtype} {pixels.shape}"
    return "read"


class Records(logging.Handler):
    """What was logged: all texts, and the first that is not ours."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.foreign = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        if not record.name.startswith("medmamba"):
            self.foreign = f"{record.name}: {record.getMessage()[:200]}"


if __name__ == "__main__":
    main()
