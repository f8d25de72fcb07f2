"""PAD-UFES-20: `metadata.csv` with patient_id, img_id and diagnostic; images in `imgs_part_1` to `imgs_part_3`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medmamba.data.catalogue import Row
from medmamba.data.prepare.found import Entry, Found, find_file, images_by_name, note_unnamed, read_rows


def find(root: Path, row: Row) -> Found:
    """The images of a download, with patients and without splits: the publisher gives none.

    Raises:
        InputError: The metadata or all images are missing.
    """
    rows = read_rows(find_file(root, ["metadata.csv"], "with the diagnoses"), ["patient_id", "img_id", "diagnostic"])
    found = Found()
    images = images_by_name(root, found)
    unknown, missing, nameless, again = [], [], [], []
    counts = Counter(cells["img_id"] for cells in rows)
    for cells in rows:
        name = cells["img_id"]
        if cells["diagnostic"] not in row.classes:
            unknown.append(f"{name} ({cells['diagnostic'] or 'nothing'})")
        elif name not in images:
            missing.append(name)
        elif not cells["patient_id"]:
            nameless.append(name)
        elif counts[name] > 1:
            again.append(name)
        else:
            found.entries.append(Entry(images[name], cells["diagnostic"], cells["patient_id"]))
    found.leave_out(unknown, f"their diagnosis is none of {', '.join(row.classes)}")
    found.leave_out(missing, "their image is not there")
    found.leave_out(nameless, "they name no patient")
    found.leave_out(again, "several rows name their image")
    note_unnamed(root, images, counts, found)
    return found
