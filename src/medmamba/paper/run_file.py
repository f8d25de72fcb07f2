"""The two files of a finished run: `runs/DATA/MODEL/RECIPE-SIZE-seedK.json` in a folder of results, and its scores.

The `.npz` of the same name beside it holds `scores` (n, classes), float32, of the test split, `targets` (n,), and
`groups` (n,) where images of one patient are known.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medmamba.errors import InputError
from medmamba.json_file import write_json
from medmamba.writing import write_atomically

if TYPE_CHECKING:
    from medmamba.data.dataset import ImageSet

SCHEMA = 1
RESIZE = "bilinear (Pillow, antialiased where it makes smaller)"
_DIGITS = 5  # of the scores that are kept; the figures of a run are those of the kept ones
_RATES = ("precision", "sensitivity", "specificity", "f1")
_FIGURE = ("value", "low", "high")


def rounded(scores: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) as they are kept, float32."""
    return scores.round(_DIGITS).astype(np.float32)


def figures_of_test(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's file says of the test split, from what `medmamba.metrics.summarise` says."""
    figures = {"accuracy": report["accuracy"], "auc": report["auc"]}
    figures |= {rate: report["macro"][rate] for rate in _RATES}
    kept = {name: {key: figure[key] for key in _FIGURE} for name, figure in figures.items()}
    return {"test": {"n": report["n"], **kept}, "interval": report["interval"]["method"]}


def write_run(path: Path, entries: Mapping[str, Any], scores: np.ndarray, images: ImageSet) -> Path:
    """Write both: the scores first, so that where the JSON stands, they stand too."""
    arrays: dict[str, Any] = {"scores": scores, "targets": images.targets}
    if images.groups is not None:
        arrays["groups"] = np.unique(images.groups, return_inverse=True)[1]
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path.with_suffix(".npz"), packed.getvalue())
    write_json(path, {**entries, "scores": path.with_suffix(".npz").name})
    return path


def read_run(path: Path) -> dict[str, Any]:
    """What a run's JSON file holds.

    Raises:
        InputError: It cannot be read, is of another kind, or has no scores beside it.
    """
    again = "delete it, and the run is made again"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise InputError(f"{path} is no run file ({reason}); {again}") from reason
    if not isinstance(entries, dict) or entries.get("schema") != SCHEMA or "test" not in entries:
        raise InputError(f"{path} is no run file of schema {SCHEMA}; {again}")
    if not path.with_suffix(".npz").is_file():
        raise InputError(f"{path} has no scores beside it; {again}")
    return entries
