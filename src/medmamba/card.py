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
    "purpose",
)  # stands elsewhere in the card


def facts(bundle: Bundle) -> dict[str, str]:
    """What a user should know of a bundle, as text by name; what was not recorded reads `unknown`.

    What differs between the members of an ensemble stands there once for each, in their order.
    """
    origin = bundle.provenance
    data, networks = origin.get("data") or {}, _networks(bundle)
    versions, shape = origin.get("versions") or {}, bundle.preprocessing
    validations = [each.get("validation") or {} for each in networks]

    def counts(split: str) -> str:
        classes = (data.get("counts") or {}).get(split)
        return ", ".join(f"{name} {n}" for name, n in classes.items()) if classes else UNKNOWN

    allowed = "; ".join(data.get("allowed") or ())
    return {
        "model": bundle.model,
        **{name: str(origin[name]) for name in ("purpose", "credit") if origin.get(name)},
        **_answer(bundle),
        **({"trained in spite of": allowed} if allowed else {}),
        "task": bundle.task.value,
        "classes": ", ".join(bundle.classes),
        "input": str(shape),
        "files": f"window {shape.reading.window}, frame {shape.reading.frame}",
        "data": str(data.get("name", UNKNOWN)),
        "data fingerprint": str(data.get("fingerprint", UNKNOWN)),
        "images from": ", ".join(data.get("sources") or ()) or UNKNOWN,
        "splits": str(data.get("splits", UNKNOWN)),
        **({"split file": _split_file(origin["split_file"])} if origin.get("split_file") else {}),
        "training images": counts("train"),
        **({"rare classes": str(origin["imbalance"])} if origin.get("imbalance") else {}),
        "validation images": counts("val"),
        "best epoch": _each(networks, "best_epoch"),
        "validation AUC": _alike([figure(each.get("auc")) for each in validations]),
        "validation loss": _alike([figure(each.get("loss")) for each in validations]),
        "validation sensitivity": _alike([_sensitivities(each.get("per_class") or ()) for each in validations], "; "),
        **_decisions(bundle),
        "recipe": _alike([str((each.get("recipe") or {}).get("name", UNKNOWN)) for each in networks]),
        "start": _each(networks, "start", "; "),
        "seed": _each(networks, "seed"),
        "scan backend": _each(networks, "backend"),
        "device": _each(networks, "device"),
        "machine": _alike([_machine(each.get("machine") or {}) for each in networks], "; "),
        "date": str(origin.get("date", UNKNOWN)),
        "wall time": _alike([_duration(each.get("seconds")) for each in networks]),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()) or UNKNOWN,
    }


def _networks(bundle: Bundle) -> Sequence[Mapping[str, Any]]:
    """Where each network of a bundle comes from."""
    return bundle.provenance.get("members") or [bundle.provenance]


def _answer(bundle: Bundle) -> dict[str, str]:
    """Whose mean is the answer; nothing where one network answers."""
    if not bundle.members:
        return {}
    views = " of the picture and of its left-right mirror image" if bundle.mirror else ""
    one = "the one network" if len(bundle.members) == 1 else f"{len(bundle.members)} networks"
    return {
        "answer": f"the mean of the probabilities that {one} gave{views}",
        "networks": ", ".join(member.model for member in bundle.members),
    }


def _each(networks: Sequence[Mapping[str, Any]], name: str, separator: str = ", ") -> str:
    return _alike([str(each.get(name, UNKNOWN)) for each in networks], separator)


def _alike(values: Sequence[str], separator: str = ", ") -> str:
    """A value for each network; one where all are the same."""
    return values[0] if len(set(values)) == 1 else separator.join(values)


def _machine(machine: Mapping[str, Any]) -> str:
    """The class of a machine."""
    if not machine:
        return UNKNOWN
    system, processor, instructions, threads = (
        machine.get(name, UNKNOWN) for name in ("system", "processor", "instructions", "threads")
    )
    gpus = f", {machine.get('gpus', UNKNOWN)} x {machine['gpu']}" if "gpu" in machine else ""
    return f"{system} on {processor} with {instructions}, threads {threads}{gpus}"


def _split_file(file: Mapping[str, Any]) -> str:
    return f"{file.get('name', UNKNOWN)}, SHA-256 {file.get('sha256', UNKNOWN)}"


def _duration(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{seconds:,.0f} s"


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
    purpose = f"**{markdown_cell(known['purpose'])}**\n\n" if "purpose" in known else ""
    scoped = "" if bundle.decisions.scope is None else "; `refer` says where one is unlike the training images"
    allowed = known.get("trained in spite of")
    warning = f"**Trained in spite of: {markdown_cell(allowed)}.**\n\n" if allowed else ""
    return f"""# {markdown_cell(bundle.model)}: {markdown_cell(", ".join(bundle.classes))}

Research software, not a medical device.

{purpose}{warning}| | |
| --- | --- |
{rows}

| class | training images | validation images | validation sensitivity |
| --- | --- | --- | --- |
{_class_rows(bundle)}

{_figures(bundle)} chose the epoch and are optimistic; `metrics.json` of an evaluation on the test split is what to
quote. The model has seen images like those named above and no others: another scanner, hospital, population or
disease may give other results. It answers one of its classes for any picture, also for one that shows none of
them{scoped}.
"""


def _figures(bundle: Bundle) -> str:
    one_by_one = ", which are those of the networks one by one, in their order,"
    return f"The validation figures{one_by_one if bundle.members else ''}"


def _class_rows(bundle: Bundle) -> str:
    """The table of classes, in the order of the model's outputs."""
    counts = (bundle.provenance.get("data") or {}).get("counts") or {}
    validations = [each.get("validation") or {} for each in _networks(bundle)]
    per_class = [{row["name"]: row for row in each.get("per_class") or ()} for each in validations]
    rows = []
    for name in bundle.classes:
        numbers = [str((counts.get(split) or {}).get(name, UNKNOWN)) for split in ("train", "val")]
        values = [each.get(name, {}).get("sensitivity", UNKNOWN) for each in per_class]
        told = _alike(["-" if value is None else value if value == UNKNOWN else f"{value:.2f}" for value in values])
        rows.append(f"| {' | '.join(map(markdown_cell, (name, *numbers, told)))} |")
    return "\n".join(rows)
