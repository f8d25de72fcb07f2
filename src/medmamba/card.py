"""What a bundle is, in words: for `info`, and as the model card that lies in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medmamba.bundle import Bundle

UNKNOWN = "unknown"


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
        "validation AUC": _figure(validation.get("auc")),
        "validation loss": _figure(validation.get("loss")),
        "validation sensitivity": _sensitivities(validation.get("per_class") or ()),
        "recipe": str((origin.get("recipe") or {}).get("name", UNKNOWN)),
        "start": str(origin.get("start", UNKNOWN)),
        "seed": str(origin.get("seed", UNKNOWN)),
        "scan backend": str(origin.get("backend", UNKNOWN)),
        "device": str(origin.get("device", UNKNOWN)),
        "date": str(origin.get("date", UNKNOWN)),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()) or UNKNOWN,
    }


def _figure(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}"


def _sensitivities(rows: Sequence[Mapping[str, Any]]) -> str:
    known = ((row["name"], row["sensitivity"], row["n"]) for row in rows)
    words = (f"{name} {'-' if value is None else f'{value:.2f}'} (n {n})" for name, value, n in known)
    return ", ".join(words) or UNKNOWN


def card(bundle: Bundle) -> str:
    """A short model card in Markdown."""
    known = facts(bundle)
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in known.items())
    allowed = known.get("trained in spite of")
    warning = f"**Trained in spite of: {_cell(allowed)}.**\n\n" if allowed else ""
    return f"""# {_cell(bundle.model)}: {_cell(", ".join(bundle.classes))}

Research software, not a medical device.

{warning}| | |
| --- | --- |
{rows}

The validation figures chose the epoch and are optimistic; `metrics.json` of an evaluation on the test split is what to
quote. The model has seen images like those named above and no others: another scanner, hospital, population or
disease may give other results. It answers one of its classes for any picture, also for one that shows none of them.
"""


def _cell(text: str) -> str:
    """Text that neither breaks a Markdown table nor becomes markup."""
    for mark in "\\|<>[]`*":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
