"""What the service tells of its model: no path of the machine where it was trained or runs."""

from __future__ import annotations

import re
from typing import Any

from medmamba.card import facts
from medmamba.decisions import Decisions
from medmamba.predictor import Classifier
from medmamba.predictor.record import about_run
from medmamba.serve.service import Service
from medmamba.tasks import Task

RESEARCH_USE = "Research software, not a medical device."
_KEPT = ("date", "seed", "best_epoch", "validation", "versions")  # of where the model came from

_FOLDERS = re.compile(r"(?<!\S)(?:[A-Za-z]:|~|\.{1,2})?[\\/](?:\S*[\\/])?(?=\S)")  # at the beginning of a word


def short(classifier: Classifier) -> dict[str, Any]:
    """What stands in every answer."""
    return {
        "name": classifier.bundle.model,
        "classes": list(classifier.classes),
        "research_use": RESEARCH_USE,
    }


def whole(service: Service, limits: dict[str, int]) -> dict[str, Any]:
    """All that `/v1/model` tells, as JSON takes it.

    Args:
        service: The model at work.
        limits: What is taken in one request, by name.
    """
    classifier = service.classifier
    bundle = classifier.bundle
    shape = bundle.preprocessing.to_dict()
    reading = shape.pop("reading")
    thresholds = list(bundle.threshold) if isinstance(bundle.threshold, tuple) else bundle.threshold
    data = bundle.provenance.get("data") or {}
    origin = {name: bundle.provenance[name] for name in _KEPT if name in bundle.provenance}
    return {
        **short(classifier),
        "purpose": bundle.provenance.get("purpose"),
        "task": bundle.task.value,
        "positive": bundle.classes[bundle.positive] if bundle.task is Task.BINARY else None,
        "threshold": thresholds if bundle.task in (Task.BINARY, Task.MULTILABEL) else None,
        "preprocessing": shape | reading,
        "calibrated": bundle.decisions != Decisions(),
        "prediction_sets": bundle.decisions.conformal is not None,
        "scope": classifier.kind is not None,
        "explains": service.explains,
        "limits": limits,
        "card": _no_paths(service.card),
        "facts": {name: _no_paths(value) for name, value in facts(bundle).items()},
        "provenance": origin
        | {"data": {"name": _no_paths(str(data.get("name", ""))), "counts": data.get("counts")} if data else None},
        "versions": about_run(classifier, batch_size=1)["versions"],
        "device": classifier.device,
        "backend": classifier.backend,
    }


def _no_paths(text: str) -> str:
    """The text without the folders of what looks like a path of a machine; names and relative paths stay."""
    return _FOLDERS.sub("", text)
