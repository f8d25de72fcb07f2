"""A file that `medmamba export` wrote, run by onnxruntime; torch is not imported.

The file tells what it is in its metadata, as JSON under the key `medmamba`: `bundle` (what `bundle.json` holds),
`complexity`, and the names, types and shapes of `input` and `output`. The record beside it, `NAME.onnx.json`, holds the
same, the file's `sha256`, and what its `check` against torch found.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from medmamba.bundle import Bundle
from medmamba.errors import InputError, one_line
from medmamba.json_file import parse_json, read_json
from medmamba.predictor.classifier import Classifier

logger = logging.getLogger(__name__)

FORMAT = 1
KEY = "medmamba"  # of the metadata
INPUT, OUTPUT = "pixels", "probabilities"


class OnnxClassifier(Classifier):
    """An exported file, on the CPU."""

    def __init__(self, bundle: Bundle, session: Any, complexity: dict[str, Any] | None) -> None:
        """Take an onnxruntime session; `load` makes one."""
        super().__init__(bundle, device="cpu", backend="onnxruntime")
        self.session = session
        self.complexity = complexity

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        answers: np.ndarray = self.session.run([OUTPUT], {INPUT: pixels})[0]
        return answers.astype(np.float64)

    def features_and_probabilities(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise InputError("an exported file gives probabilities and no features; give the folder of the trained model")


def load(path: str | os.PathLike[str], *, device: str = "auto") -> OnnxClassifier:
    """The classifier of an exported file, after comparing the file with the record beside it, where there is one.

    Raises:
        InputError: The file is missing, damaged, was not written by `medmamba export` or is not the one that was; or
            another device than the CPU was asked for, or onnxruntime is not installed.
    """
    path = Path(path)
    if device not in ("auto", "cpu"):
        raise InputError(
            f"the device {device!r} was asked for, but an exported file runs on the CPU; leave --device out"
        )
    if not path.is_file():
        raise InputError(f"there is no file {path}; give what medmamba export wrote")
    content = path.read_bytes()
    check_record(path, content)
    session = open_session(content, str(path))
    about = session.get_modelmeta().custom_metadata_map.get(KEY)
    if about is None:
        raise InputError(f"{path} was not written by medmamba export: it does not say its classes and preprocessing")
    try:
        entries = parse_json(about.encode())
        if entries["format"] != FORMAT:
            raise InputError(f"it has format {entries['format']}, this version reads {FORMAT}; update medmamba")
        bundle = Bundle.from_dict(entries["bundle"])
        if bundle.decisions.scope is not None:
            logger.warning(
                "%s does not tell pictures that are unlike its training images; the model's folder does", path
            )
        return OnnxClassifier(bundle, session, entries["complexity"])
    except (ValueError, TypeError, KeyError, AttributeError) as reason:
        raise InputError(f"{path} cannot be used ({one_line(reason)}); export it again") from None


def open_session(content: bytes, name: str) -> Any:
    """An onnxruntime session of a file's bytes. A model that refers to other files does not open.

    Raises:
        InputError: onnxruntime is not installed or cannot open it.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it would ask for a host of its maker's; read at the import
    try:
        import onnxruntime
    except ImportError as reason:
        raise InputError(f"exported files are run by onnxruntime: pip install 'medmamba[onnx]' ({reason})") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone: its warnings are about its own optimiser
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as reason:  # it has a class of its own for each kind of damage
        raise InputError(f"{name} cannot be opened ({one_line(reason)}); copy it again or export it again") from None


def record_of(path: Path) -> Path:
    """Where the record of an exported file is."""
    return path.with_name(f"{path.name}.json")


def check_record(path: Path, content: bytes) -> None:
    """Raise `InputError` if a file is not the one of which the record beside it tells; without a record, say so."""
    record = record_of(path)
    if not record.is_file():
        logger.warning("%s lies without its record %s, so it is not known whether it is whole", path, record.name)
        return
    entries = read_json(record)
    try:
        expected = entries["sha256"]
    except (KeyError, TypeError) as reason:
        raise InputError(f"{record} is damaged ({one_line(reason)}); copy it again or export again") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise InputError(f"{path} is not the file of which {record.name} tells: copy both again or export again")
