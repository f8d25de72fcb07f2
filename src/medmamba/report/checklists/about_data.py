"""Answers about the data: where they come from, how many there are, how they were cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medmamba.report.checklists.items import Facts
from medmamba.report.checklists.record import Record, plainly
from medmamba.tasks import Task

SHARED = ("patient-overlap", "leaked-images", "related-data")  # faults by which splits share something


def sources(record: Record) -> Facts:
    """Data set, collections, page and citation, and what the model saw before."""
    data, row = record.data, record.row
    if "name" not in data:
        return []
    facts = [f"trained on {data['name']} (fingerprint {data.get('fingerprint', 'unknown')})"]
    if row is not None:
        patients = f" of {row.patients:,} patients" if row.patients else ""
        facts.append(f"the catalogue's set of this name is {row.title}: {row.modality}; {row.total:,} images{patients}")
        facts += [f"page {row.source}", f"cite {row.citation}"]
    if data.get("sources"):
        facts.append(f"images from {', '.join(data['sources'])}")
    before = [str(each.get("name")) for each in data.get("seen") or ()][:-1]
    if before:
        facts.append(f"the model that it started from was trained on {', '.join(before)}")
    if record.evaluated is not None:
        facts.append(f"evaluated on {record.evaluated}, split {record.metrics['data'].get('split', 'unknown')}")
    return facts


def licence(record: Record) -> Facts:
    """Licence of the images and how to get them, where the catalogue knows the set."""
    row = record.row
    if row is None:
        return []
    return [f"the catalogue's set of this name, {row.title}: licence {row.licence}", f"get it: {row.get}"]


def counts(record: Record) -> Facts:
    """Images of each class, and patients where they were known, in each split and in the evaluation."""
    by_split = record.data.get("counts") or {}
    facts = [_of_split(record, split, classes) for split, classes in by_split.items()]
    return facts + test_size(record)


def _of_split(record: Record, split: str, classes: Mapping[str, int]) -> str:
    sizes = ", ".join(f"{name} {n}" for name, n in zip(plainly(classes), classes.values(), strict=True))
    patients = _patients(record, (record.data.get("patients") or {}).get(split))
    if record.bundle.task is Task.MULTILABEL:
        return f"{split}: images {patients} with each label ({sizes})"
    return f"{split}: {sum(classes.values())} images {patients} ({sizes})"


def _patients(record: Record, number: int | None) -> str:
    return f"of {number} {record.unit}s" if number else "of an unknown number of patients"


def test_size(record: Record) -> Facts:
    """Images and patients that were evaluated."""
    metrics = record.metrics
    if "n" not in metrics:
        return []
    rows = metrics.get("per_class") or ()
    sizes = ", ".join(
        f"{name} {row['n']}" for name, row in zip(plainly(row["name"] for row in rows), rows, strict=True)
    )
    return [f"evaluated: {metrics['n']} images {_patients(record, metrics.get('patients'))} ({sizes})"]


def assigned(record: Record) -> Facts:
    """Who cut the splits, by which seed, and how many images each got."""
    if "splits" not in record.data:
        return []
    return [f"splits: {record.data['splits']}", *counts(record)]


def disjoint(record: Record) -> Facts:
    """By patient or by image, as training checked it; nothing where it was not recorded whether patients are known."""
    data = record.data
    if "patients" not in data:
        return []
    allowed = [str(sentence) for sentence in data.get("allowed") or () if str(sentence).startswith(SHARED)]
    facts = [f"trained in spite of {sentence}" for sentence in allowed]
    if not all(data["patients"].values()):
        return [*facts, "patients are unknown, so by image at most"]
    if any(sentence.startswith("patient-overlap") for sentence in allowed):
        return facts
    by = f"by {record.unit}: training found none in both the training and the validation split"
    return [*facts, by if record.unit == "patient" else f"{by}; the data do not say that a group is a patient"]


def rare_classes(record: Record) -> Facts:
    """What was done for rare classes, and what it does to the probabilities."""
    if record.origin.get("imbalance"):
        return [f"for rare classes: {record.origin['imbalance']}"]
    return ["nothing was done for rare classes"] if record.recipe.get("imbalance") == "none" else []


def missing(record: Record) -> Facts:
    """What was said of the data when it was opened: files that were not found or not used, and the like."""
    if "notes" not in record.data:
        return []
    notes = [str(note) for note in record.data["notes"]]
    return notes or ["opening the data gave no notice of missing or unused images"]


def mix(record: Record) -> Facts:
    """Share of each class among training images and evaluated ones."""
    train = (record.data.get("counts") or {}).get("train")
    rows, n = record.metrics.get("per_class"), record.metrics.get("n")
    if not train or not rows or not n or record.bundle.task is Task.MULTILABEL:
        return []
    return [
        f"{row['name']}: {_share(train, row['name'])} of training images, {row['n'] / n:.1%} of evaluated"
        for row in rows
    ]


def _share(counts: Mapping[str, Any], name: str) -> str:
    total = sum(counts.values())
    return f"{counts.get(name, 0) / total:.1%}" if total else "none"


def between(record: Record) -> Facts:
    """Whether training and evaluation name the same data set, and how the mix of classes differs."""
    if record.evaluated is None or "name" not in record.data:
        return []
    same = (
        "the same data set" if record.same_data else f"{record.evaluated}, another data set than {record.data['name']}"
    )
    return [f"evaluated on {same}", *mix(record)]
