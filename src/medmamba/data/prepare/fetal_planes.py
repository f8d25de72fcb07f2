"""Fetal-Planes-DB: `FETAL_PLANES_DB_data.csv`, separated by semicolons, and the images in `Images`."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from medmamba.data.catalogue import Row
from medmamba.data.listing import few
from medmamba.data.prepare.found import Entry, Found, find_file, images_by_name, note_unnamed, read_rows

TABLES = ("FETAL_PLANES_DB_data.csv", "FETAL_PLANES_ZENODO.csv")
SPLITS = {"1": "train", "0": "test"}  # the column `Train`


def find(root: Path, row: Row) -> Found:
    """The images of a download, with patients and the publisher's train and test.

    Raises:
        InputError: The table or all images are missing.
    """
    rows = read_rows(find_file(root, TABLES, "with the planes"), ["Image_name", "Patient_num", "Plane", "Train"])
    found = Found()
    images = images_by_name(root, found, stem=True)
    unknown, missing, incomplete, again = [], [], [], []
    counts = Counter(cells["Image_name"] for cells in rows)
    for cells in rows:
        name = cells["Image_name"]
        if cells["Plane"] not in row.classes:
            unknown.append(f"{name} ({cells['Plane'] or 'nothing'})")
        elif name not in images:
            missing.append(name)
        elif not cells["Patient_num"] or cells["Train"] not in SPLITS:
            incomplete.append(name)
        elif counts[name] > 1:
            again.append(name)
        else:
            found.entries.append(Entry(images[name], cells["Plane"], cells["Patient_num"], SPLITS[cells["Train"]]))
    found.leave_out(unknown, f"their plane is none of {', '.join(row.classes)}")
    found.leave_out(missing, "their image is not there")
    found.leave_out(incomplete, "they have no patient, or neither 1 nor 0 in the column Train")
    found.leave_out(again, "several rows name their image")
    note_unnamed(root, images, counts, found)
    _note_crossing(found)
    return found


def _note_crossing(found: Found) -> None:
    splits = defaultdict(set)
    for entry in found.entries:
        splits[entry.patient or ""].add(entry.split)
    if crossing := sorted(patient for patient, names in splits.items() if len(names) > 1):
        found.notes.append(
            f"patients in the publisher's train and in its test ({len(crossing)}): {few(crossing)}; "
            "leave the split column out to have splits by patient"
        )
