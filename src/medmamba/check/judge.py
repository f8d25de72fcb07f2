"""From what was seen to findings: one function for each thing that can be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from medmamba.check.duplicates import Group, joined_units
from medmamba.check.findings import Finding
from medmamba.check.scan import Scan
from medmamba.check.shortcuts import find_shortcuts, not_looked_for
from medmamba.check.unusual import find_unusual
from medmamba.data.dataset import Dataset
from medmamba.data.listing import few
from medmamba.tasks import Task

BLANK = 1.0  # standard deviation of grey levels below which a picture shows nothing
SMALL = 10  # images of a class in a split


def judge(seen: Scan, groups: Sequence[Group], data: Dataset) -> list[Finding]:
    """All findings about images that were looked at, and the groups of them that are the same."""
    return [
        *_about_images(seen),
        *_about_patients(seen),
        *_about_copies(seen, groups, data),
        *_about_classes(seen, data),
        *_about_shortcuts(seen, groups, data),
        *_about_kinds(seen),
    ]


def _members(seen: Scan, data: Dataset) -> Iterator[tuple[str, int, np.ndarray]]:
    """(split, class index, rows) of every pair, also those without images."""
    for split in data.splits:
        for label in range(len(data.classes)):
            has = seen.targets == label if data.task is not Task.MULTILABEL else seen.targets[:, label] == 1
            yield split, label, np.flatnonzero(has & (seen.splits == split)) if len(seen.looks) else np.empty(0, int)


def table_of(seen: Scan, data: Dataset) -> list[dict[str, Any]]:
    """A row for each split and class that has images: counts, sizes, kinds, brightness."""
    rows = []
    for split, label, members in _members(seen, data):
        looks = [seen.looks[row] for row in members]
        if not looks:
            continue
        heights, widths = zip(*(look.size for look in looks), strict=True)
        means = np.array([look.mean for look in looks])
        rows.append(
            {
                "split": split,
                "class": data.classes[label],
                "images": len(looks),
                "heights": [min(heights), max(heights)],
                "widths": [min(widths), max(widths)],
                "kinds": _counted([look.kind for look in looks]),
                "brightness": round(float(means.mean()), 1),
                "brightness_sd": round(float(means.std()), 1),
            }
        )
    return rows


def _counted(words: Sequence[str]) -> dict[str, int]:
    names, counts = np.unique(words, return_counts=True)
    return dict(sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])))


def _images(count: int, one: str, more: str) -> str:
    """`1 image shows`, `2 images show`."""
    return f"1 image {one}" if count == 1 else f"{count:,} images {more}"


def _about_images(seen: Scan) -> Iterator[Finding]:
    if seen.unreadable:
        names = [name for name, _ in seen.unreadable]
        reasons: dict[str, object] = {"reasons": dict(seen.unreadable)}
        yield Finding(
            "unreadable",
            f"{_images(len(names), 'cannot', 'cannot')} be read: {few(names)}",
            [[n] for n in names],
            reasons,
        )
    blank = [name for name, look in zip(seen.names, seen.looks, strict=True) if look.spread < BLANK]
    if blank:
        yield Finding(
            "blank", f"{_images(len(blank), 'shows', 'show')} nothing: {few(blank)}", [[name] for name in blank]
        )
    for how, rows in find_unusual(seen.thumbs).items():
        if rows:
            names = [seen.names[row] for row in rows]
            yield Finding(
                "unusual", f"{_images(len(names), 'looks', 'look')} {how}: {few(names)}", [[name] for name in names]
            )


def _about_patients(seen: Scan) -> Iterator[Finding]:
    """Of all images, also of those that cannot be read. Patients are counted, not named: the page travels."""
    images: dict[str, list[str]] = {}
    splits: dict[str, set[str]] = {}
    for split, opened in seen.opened.items():
        for name, patient in zip(opened.names, opened.groups or (), strict=bool(opened.groups)):
            images.setdefault(patient, []).append(name)
            splits.setdefault(patient, set()).add(split)
    crossing = [patient for patient, where in splits.items() if len(where) > 1]
    if crossing:
        patients = "1 patient has" if len(crossing) == 1 else f"{len(crossing):,} patients have"
        sentence = f"{patients} images in more than one split, of {len(splits):,} patients"
        yield Finding("patient-overlap", sentence, [images[patient] for patient in crossing])


def _about_copies(seen: Scan, groups: Sequence[Group], data: Dataset) -> Iterator[Finding]:
    def named(chosen: Sequence[Group]) -> list[list[str]]:
        return [[seen.names[row] for row in group.rows] for group in chosen]

    def counted(chosen: Sequence[Group]) -> str:
        exact = sum(group.exact for group in chosen)
        noun = "group" if len(chosen) == 1 else "groups"
        return f"{len(chosen)} {noun} ({exact} equal pixel for pixel, {len(chosen) - exact} nearly)"

    conflicts = [group for group in groups if len({tuple(np.atleast_1d(seen.targets[row])) for row in group.rows}) > 1]
    if conflicts:
        yield Finding("label-conflict", f"{counted(conflicts)} with different labels", named(conflicts))
    across = [group for group in groups if len(set(seen.splits[list(group.rows)])) > 1]
    if across:
        made = "; the splits were made here, by no patients" if data.made_splits and seen.groups is None else ""
        yield Finding(
            "leaked-images", f"{counted(across)} reach over splits{made}", named(across), _pairs(seen, across)
        )
    told = {*across, *conflicts}
    within = [group for group in groups if group not in told]
    if within:
        yield Finding("duplicates", f"{counted(within)} in one split and class", named(within))


def _pairs(seen: Scan, groups: Sequence[Group]) -> dict[str, object]:
    """How many images of val and test have a copy in train, exact or near."""
    counts = {}
    for split in ("val", "test"):
        has = [
            sum(seen.splits[row] == split for row in group.rows)
            for group in groups
            if "train" in seen.splits[list(group.rows)]
        ]
        counts[f"{split} images with a copy in train"] = int(sum(has))
    return dict(counts)


def _about_classes(seen: Scan, data: Dataset) -> Iterator[Finding]:
    missing, small = [], []
    for split, label, members in _members(seen, data):
        name = f"{data.classes[label]} in {split}"
        if len(members) == 0:
            missing.append(name)
        elif len(members) < SMALL:
            small.append(f"{name} ({len(members)})")
    if missing:
        yield Finding("class-missing", f"no image of {few(missing)}")
    if small:
        yield Finding("small-class", f"fewer than {SMALL} images of {few(small)}")


def _about_shortcuts(seen: Scan, groups: Sequence[Group], data: Dataset) -> Iterator[Finding]:
    units = joined_units(seen.groups, groups, len(seen.looks))
    rare = [data.classes[label] for label in not_looked_for(seen.targets, units, len(data.classes))]
    if rare and len(seen.looks):
        yield Finding("small-class", f"shortcuts to {few(rare)} were not looked for, since they are so rare")
    what = {"border": "the border of the picture", "file": "the size and kind of the file"}
    found = find_shortcuts(seen.looks, seen.targets, units)
    for by in dict.fromkeys(shortcut.by for shortcut in found):
        of_class = {data.classes[shortcut.label]: shortcut for shortcut in found if shortcut.by == by}
        told = [f"{name} (AUC {cut.auc:.2f}, {cut.low:.2f} to {cut.high:.2f})" for name, cut in of_class.items()]
        figures = {name: {"auc": cut.auc, "low": cut.low, "high": cut.high} for name, cut in of_class.items()}
        yield Finding("shortcut", f"{what[by]} alone tells {few(told)}", details={"by": by, "classes": figures})


def _about_kinds(seen: Scan) -> Iterator[Finding]:
    kinds = _counted([look.kind for look in seen.looks])
    if len(kinds) > 1:
        yield Finding("mixed", ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()))
