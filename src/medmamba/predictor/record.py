"""What a result keeps of how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from medmamba import __version__
from medmamba.bundle import Bundle
from medmamba.predictor.classifier import Classifier

ENGINES = ("torch", "timm", "onnxruntime", "numpy")  # whose versions may decide a figure


def about_run(classifier: Classifier, batch_size: int, packages: Sequence[str] = ENGINES) -> dict[str, Any]:
    """Date (UTC), device, backend, batch size, and the versions of packages; None for one that is not there."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": classifier.device,
        "backend": classifier.backend,
        "batch_size": batch_size,
        "versions": {"medmamba": __version__, **{name: _version(name) for name in packages}},
    }


def in_spite(bundle: Bundle, now: Sequence[str]) -> list[str]:
    """The faults that were allowed when the model was trained, and now, in sentences."""
    trained = (bundle.provenance.get("data") or {}).get("allowed") or ()
    before = [f"the model was trained in spite of {sentence}" for sentence in trained]
    return before + [f"evaluated in spite of {sentence}" for sentence in now]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # an exported file needs no torch, and a bundle no onnxruntime
        return None
