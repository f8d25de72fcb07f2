"""`medmamba export`: trace, write beside, check, and only then put in place."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medmamba import __version__
from medmamba.bundle import Bundle
from medmamba.data import open_data
from medmamba.data.dataset import ALL, ImageSet
from medmamba.data.faults import FAULTS
from medmamba.errors import FailedError, InputError, one_line, suggest
from medmamba.evaluation import complexity
from medmamba.export import check, program
from medmamba.export.check import Answer, Check
from medmamba.json_file import write_json
from medmamba.predictor import network, onnx_file
from medmamba.predictor.onnx_file import FORMAT, INPUT, OUTPUT
from medmamba.training.provenance import installed
from medmamba.writing import check_place, write_atomically

logger = logging.getLogger(__name__)

FORMATS = ("onnx", "pt2")
SPLITS_OF_RUN = "splits.csv"
PHANTOMS = "phantoms:20"
PROVENANCE = ("date", "seed", "data", "versions", "best_epoch", "validation", "backend", "device")
NOTICE = "Research software, not a medical device."


def export(
    folder: str | os.PathLike[str],
    *,
    format: str = "onnx",
    out: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    images: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Check]:
    """Write a bundle's model as one file, and a record beside it.

    The file takes uint8 pixels (batch, channels, height, width), which are those of `Preprocessing.pixels`, and gives
    probabilities (batch, classes); normalisation is inside. The batch is free, the size is the bundle's. BatchNorm is
    folded where that is exact.

    The file is compared with the network before it is put in place: on images of `data` and on extreme ones, in batches
    of `check.BATCHES`, as whoever receives it will open it. It is kept if no probability differs by more than
    `check.TOLERANCE` and every decision is the same.

    Args:
        folder: A bundle.
        format: `onnx` (standard operators, no other file) or `pt2` (a program for `torch.export.load`).
        out: The file; by default `model.onnx` or `model.pt2` in the bundle. The record is called as the file, with
            `.json` behind. Both are replaced, each whole.
        data: What `open_data` takes, for the images of the check: those of its validation split if it has one. By
            default what the run's `splits.csv` names, and phantoms where there is none.
        images: How many of them, spread evenly.
        progress: Called with (images compared, images in all).

    Returns:
        The file and what the check found.

    Raises:
        InputError: The bundle, the format, the place or the data cannot be used, or a package is missing.
        FailedError: The network cannot be exported, or the file does not answer as the network does. Nothing is left.
    """
    folder = Path(folder)
    if format not in FORMATS:
        raise InputError(f"there is no format {format!r}; choose {' or '.join(FORMATS)}{suggest(format, FORMATS)}")
    if images < 1:
        raise InputError(f"{images} images are none to check with; give 1 or more")
    if format == "onnx":
        program.require_onnx()
    classifier = network.load(folder, device="cpu")
    bundle = classifier.bundle
    out = Path(out) if out is not None else folder / f"model.{format}"
    if out.suffix.lower() != f".{format}":
        raise InputError(
            f"{out} does not end in .{format}, the format that was asked for; rename it or change --format"
        )
    for place in (out, onnx_file.record_of(out)):
        check_place(place)
    found, source = _images(folder, bundle, data)
    pixels = check.probes(bundle.preprocessing, found, images)

    shape = bundle.preprocessing
    about = _about(bundle, format) | {
        "complexity": complexity(bundle.build_model(), (shape.height, shape.width), shape.channels)
    }
    logger.info("tracing %s at %d x %d", bundle.model, shape.height, shape.width)
    example = torch.zeros(2, shape.channels, shape.height, shape.width, dtype=torch.uint8)
    traced = program.trace(classifier.answers, example, bundle.model)
    logger.info("writing %s", format)
    content = program.as_onnx(traced, about) if format == "onnx" else program.as_pt2(traced, about)
    logger.info("comparing it with the network on %d images: %s", len(pixels), source)
    with _beside(out) as written:
        write_atomically(written, content)
        digest = hashlib.sha256(content).hexdigest()
        if hashlib.sha256(written.read_bytes()).hexdigest() != digest:
            raise FailedError("the file that was read back is not the one that was written; look after the disk")
        record = about | {"file": out.name, "sha256": digest}
        write_json(onnx_file.record_of(written), record)
        try:
            answer = _open(written, format)
            result = check.compare(bundle, classifier.probabilities, answer, pixels, source=source, progress=progress)
        except Exception as reason:  # an engine has errors of its own for whatever it cannot run
            raise FailedError(f"the file cannot be run, and was not kept: {one_line(reason)}") from reason
        _refuse_unless_equal(result)
        write_json(onnx_file.record_of(written), record | {"check": result.to_dict()})
        # a file without its record is taken with a warning, one beside another's record is not
        onnx_file.record_of(out).unlink(missing_ok=True)
        os.replace(written, out)
        os.replace(onnx_file.record_of(written), onnx_file.record_of(out))
    return out, result


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A file of the same name in a folder beside it that is there meanwhile; messages name `out` in its place."""
    try:
        folder = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.")
    except OSError as reason:
        raise InputError(f"nothing can be written to {out} ({reason.strerror}); name another place") from None
    with folder as beside:
        written = Path(beside) / out.name
        try:
            yield written
        except FailedError as reason:
            raise FailedError(str(reason).replace(str(written), str(out))) from reason


def _about(bundle: Bundle, format: str) -> dict[str, Any]:
    """What a file says of itself. Of its origin only what `PROVENANCE` names: the rest may hold paths of a machine."""
    entries = bundle.to_dict()
    entries["provenance"] = _origin(bundle.provenance)
    if members := bundle.provenance.get("members"):
        entries["provenance"]["members"] = [_origin(each) for each in members]
    shape = bundle.preprocessing
    packages = ("torch", "onnx", "onnxscript", "onnxruntime") if format == "onnx" else ("torch",)
    return {
        "format": FORMAT,
        "notice": NOTICE,
        "input": {"name": INPUT, "type": "uint8", "shape": ["batch", shape.channels, shape.height, shape.width]},
        "output": {"name": OUTPUT, "type": "float32", "shape": ["batch", len(bundle.classes)]},
        "opset": program.OPSET if format == "onnx" else None,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"medmamba": __version__, **{name: _version(name) for name in packages}},
        "bundle": json.loads(json.dumps(entries, default=str)),
    }


def _origin(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {key: provenance[key] for key in PROVENANCE if key in provenance}


def _version(package: str) -> str:
    """As it is installed, or, of those distributed under several names, as the package says itself."""
    return installed(package) or str(import_module(package).__version__)


def _images(folder: Path, bundle: Bundle, data: str | os.PathLike[str] | None) -> tuple[ImageSet, str]:
    """Images to compare with, and where they came from in words."""
    if data is None and (folder / SPLITS_OF_RUN).is_file():
        data = folder / SPLITS_OF_RUN
    if data is None:
        logger.warning("the images of the check are synthetic; name your own with --data")
    synthetic = data is None or str(data).partition(":")[0] == "phantoms"
    try:
        if synthetic:
            opened = open_data(data or PHANTOMS)
        else:
            opened = open_data(str(data), task=str(bundle.task), classes=bundle.classes, allow=tuple(FAULTS))
    except InputError as reason:
        advice = "name other images with --data, or --data phantoms for synthetic ones"
        raise InputError(f"there are no images to check with: {reason}; {advice}") from None
    split = "val" if "val" in opened.splits and not synthetic else ALL
    found = opened.split(split)
    if len(found) == 0:
        raise InputError(f"the split {split} of {opened.name} has no images to check with; name other data with --data")
    return found, f"{opened.name}, {split}, and extreme ones"


def _open(path: Path, format: str) -> Answer:
    """The file as whoever receives it opens it."""
    if format == "onnx":
        return onnx_file.load(path).probabilities
    module = torch.export.load(path).module()

    def answer(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            scores: np.ndarray = module(torch.from_numpy(pixels)).double().numpy()
        return scores

    return answer


def _refuse_unless_equal(result: Check) -> None:
    if not result.passed:
        difference = result.largest_difference
        raise FailedError(
            f"the file does not answer as the network does: the largest difference of a probability is "
            f"{'not a number' if difference is None else f'{difference:.1e}'}, {result.tolerance:g} is allowed, and "
            f"{result.other_decisions} decisions differ, on {result.images} images; it was not kept"
        )
