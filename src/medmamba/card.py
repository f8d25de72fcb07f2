"""What a bundle is, in words: for `info`, and as the model card that lies in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medmamba.tasks import Task
from medmamba.text import markdown_cell

if TYPE_CHECKING:
    from medmamba.bundle import Bundle

UNKNOWN = "unknown"
_OF_CLASSES = (
    "classes",
    "training images",
    "validation images",
    "validation sensitivity",
)  # the card's table of classes


def facts(bundle: Bundle) -> dict[str, str]:
    """What a user should know of a bundle, as text by name; what was not recorded reads `unknown`."""
    origin = bundle.provenance
    data, validation = origin.get("data") or {}, origin.get("validation") or {}
    versions, shape = origin.get("versions") or {}, bundle.preprocessing

    def counts(split: str) -> str:
        classes = (data.get("counts") or {}).get(split)
        return ", ".join(f"{name} {n}" for name, n in classes.items()) if classes else UNKNOWN

    allowed = "; ".join(data.get("allowed") or ())
    return {
        "model": bundle.model,
        **({"trained in spite of": allowed} if allowed else {}),
        "task": bundle.task.value,
        "classes": ", ".join(bundle.classes),
        "input": f"{shape.height} x {shape.width} (height x width), {shape.channels} channels, {shape.fit}",
        "files": f"window {shape.reading.window}, frame {shape.reading.frame}",
        "data": str(data.get("name", UNKNOWN)),
        "data fingerprint": str(data.get("fingerprint", UNKNOWN)),
        "images from": ", ".join(data.get("sources") or ()) or UNKNOWN,
        "splits": str(data.get("splits", UNKNOWN)),
        "training images": counts("train"),
        **({"rare classes": str(origin["imbalance"])} if origin.get("imbalance") else {}),
        "validation images": counts("val"),
        "best epoch": str(origin.get("best_epoch", UNKNOWN)),
        "validation AUC": figure(validation.get("auc")),
        "validation loss": figure(validation.get("loss")),
        "validation sensitivity": _sensitivities(validation.get("per_class") or ()),
        **_decisions(bundle),
        "recipe": str((origin.get("recipe") or {}).get("name", UNKNOWN)),
        "start": str(origin.get("start", UNKNOWN)),
        "seed": str(origin.get("seed", UNKNOWN)),
        "scan backend": str(origin.get("backend", UNKNOWN)),
        "device": str(origin.get("device", UNKNOWN)),
        "date": str(origin.get("date", UNKNOWN)),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()) or UNKNOWN,
    }


def _decisions(bundle: Bundle) -> dict[str, str]:
    """How probabilities become answers, and on which images that was chosen."""
    decisions, fitted = bundle.decisions, bundle.decisions.fitted
    rows = {"threshold": _thresholds(bundle)} if bundle.task in (Task.BINARY, Task.MULTILABEL) else {}
    if fitted.get("point") and rows:
        rows["threshold"] += f", for {fitted['point']}"
    if decisions.temperature != 1:
        rows["temperature"] = f"{decisions.temperature:.4g}"
    if decisions.conformal is not None:
        held = "each class" if decisions.conformal.by_class else "all classes together"
        rows["prediction sets"] = f"may miss {decisions.conformal.error:.4g} of images, for {held}"
    if decisions.scope is not None:
        rows["scope"] = f"calls {decisions.scope:.4g} of the validation images unlike the training images"
    where = f"{fitted.get('n')} images of the split {fitted.get('split')} of {fitted.get('data')}, {fitted.get('date')}"
    return rows | {"calibrated on": where if fitted else "no images: medmamba calibrate was not run"}


def _thresholds(bundle: Bundle) -> str:
    if isinstance(bundle.threshold, tuple):
        return ", ".join(f"{name} {value:.4g}" for name, value in zip(bundle.classes, bundle.threshold, strict=True))
    return f"{bundle.threshold:.4g}"


def figure(value: float | None) -> str:
    """An AUC or a loss in words."""
    return UNKNOWN if value is None else f"{value:.4f}"


def _sensitivities(rows: Sequence[Mapping[str, Any]]) -> str:
    known = ((row["name"], row["sensitivity"], row["n"]) for row in rows)
    words = (f"{name} {'-' if value is None else f'{value:.2f}'} (n {n})" for name, value, n in known)
    return ", ".join(words) or UNKNOWN


def card(bundle: Bundle) -> str:
    """A short model card in Markdown."""
    known = facts(bundle)
    rows = "\n".join(f"| {name} | {markdown_cell(value)} |" for name, value in known.items() if name not in _OF_CLASSES)
    allowed = known.get("trained in spite of")
    warning = f"**Trained in spite of: {markdown_cell(allowed)}.**\n\n" if allowed else ""
    return f"""# {markdown_cell(bundle.model)}: {markdown_cell(", ".join(bundle.classes))}

Research software, not a medical device.

{warning}| | |
| --- | --- |
{rows}

| class | training images | validation images | validation sensitivity |
| --- | --- | --- | --- |
{_class_rows(bundle)}

The validation figures chose the epoch and are optimistic; `metrics.json` of an evaluation on the test split is what to
quote. The model has seen images like those named above and no others: another scanner, hospital, population or
disease may give other results. It answers one of its classes for any picture, also for one that shows none of them.
"""


def _class_rows(bundle: Bundle) -> str:
    """The table of classes, in the order of the model's outputs."""
    origin = bundle.provenance
    counts = (origin.get("data") or {}).get("counts") or {}
    per_class = {row["name"]: row for row in (origin.get("validation") or {}).get("per_class") or ()}
    rows = []
    for name in bundle.classes:
        numbers = [str((counts.get(split) or {}).get(name, UNKNOWN)) for split in ("train", "val")]
        value = per_class.get(name, {}).get("sensitivity", UNKNOWN)
        told = "-" if value is None else value if value == UNKNOWN else f"{value:.2f}"
        rows.append(f"| {' | '.join(map(markdown_cell, (name, *numbers, told)))} |")
    return "\n".join(rows)
