"""What an exported file and its record promise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from medmamba.bundle import DESCRIPTION, Bundle, load_bundle
from medmamba.errors import InputError
from medmamba.manifest import digest_of
from medmamba.predictor import onnx_file
from medmamba.verification.folder import told_versions
from medmamba.verification.network import check_probabilities, check_quantiles, fixed_picture
from medmamba.verification.outcome import ImpossibleError, Row

SUFFIXES = (".onnx", ".pt2")
_KEPT = ("provenance", "files")  # of a description: an export keeps less of the one and nothing of the other


class Exported:
    """A file of `export`, with what is read of it when it is asked for.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def record_path(self) -> Path:
        """Where its record lies."""
        return onnx_file.record_of(self.path)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Its record, as JSON has it."""
        entries: dict[str, Any] = json.loads(self.record_path.read_text(encoding="utf-8"))
        return entries

    @cached_property
    def classifier(self) -> onnx_file.OnnxClassifier:
        """The file at work."""
        if self.path.suffix.lower() != ".onnx":
            raise ImpossibleError(
                "only torch.export.load reads a .pt2 file, and none that is not trusted is given to it"
            )
        return onnx_file.load(self.path)


def check_record(file: Exported) -> str:
    """Whether the record reads and describes a model."""
    if not file.record_path.is_file():
        raise ImpossibleError(f"the file lies without its record {file.record_path.name}; keep the two together")
    bundle = Bundle.from_dict(file.record["bundle"])
    return f"{bundle.model}, a {bundle.task} model, {len(bundle.classes)} classes"


def check_digest(file: Exported) -> str:
    """Whether the file is the one of which the record tells."""
    if digest_of(file.path) != file.record["sha256"]:
        raise InputError(f"{file.path.name} is not the file of which {file.record_path.name} tells; copy both again")
    return f"{file.path.name} has the SHA-256 that {file.record_path.name} names"


def check_description(file: Exported) -> str:
    """Whether the file says of itself what its record says."""
    inside = file.classifier.bundle.to_dict()
    if file.record_path.is_file() and inside != Bundle.from_dict(file.record["bundle"]).to_dict():
        raise InputError(f"{file.path.name} describes another model than {file.record_path.name}; copy both again")
    return f"{file.path.name} describes itself: {inside['model']}, {', '.join(inside['classes'])}"


def check_answers(file: Exported) -> str:
    """Whether the file answers a fixed picture with probabilities."""
    bundle = file.classifier.bundle
    check_quantiles(bundle)
    answers = file.classifier.probabilities(fixed_picture(bundle.preprocessing))
    if answers.shape != (1, len(bundle.classes)):
        raise InputError(f"the file answers with {answers.shape}, not with (1, {len(bundle.classes)}); export again")
    check_probabilities(answers)
    return f"it answers a fixed picture with {answers.shape[1]} probabilities"


def check_comparison(file: Exported) -> str:
    """Whether it was compared with the network when it was written."""
    found: Mapping[str, Any] = file.record.get("check") or {}
    if not found:
        raise InputError(f"{file.record_path.name} has no comparison with the network; export again")
    told = ", ".join(f"{name} {value}" for name, value in found.items() if isinstance(value, int | float | str))
    return f"compared with the network when it was written: {told}"


def check_source(file: Exported) -> str:
    """Whether the model in the same folder is still the one that was exported."""
    path = file.path.parent / DESCRIPTION
    if not path.is_file():
        raise ImpossibleError("no model lies beside it to compare")
    # as they are read, so that one of them may have been written in an earlier format
    now, then = load_bundle(path.parent).to_dict(), Bundle.from_dict(file.record["bundle"]).to_dict()
    if other := [name for name in sorted(set(now).difference(_KEPT)) if now[name] != then[name]]:
        raise InputError(f"the model beside it was changed since the export: {', '.join(other)}; export it again")
    mine, theirs = then["provenance"], now["provenance"]
    if mine.get("date") != theirs.get("date"):
        raise InputError(f"the model beside it is another run, of {theirs.get('date')}; export it again")
    return f"the model in {DESCRIPTION} beside it decides as the file does"


CHECKS: tuple[Row[Exported], ...] = (
    Row("record", check_record),
    Row("files", check_digest, ("record",)),
    Row("description", check_description),
    Row("answers", check_answers, ("description",)),
    Row("comparison", check_comparison, ("record",)),
    Row("source", check_source, ("record",)),
    Row("versions", lambda file: told_versions(file.record.get("versions") or {}), ("record",)),
)
