"""Table 2: the paper's sixteen data sets beside the catalogue."""

from __future__ import annotations

from typing import Any

from medmamba.data.catalogue import CATALOGUE, Row
from medmamba.data.catalogue.page import TOTAL_CLAIMED
from medmamba.paper.printed import read_table
from medmamba.paper.sheet import Part, Sheet
from medmamba.tasks import Task


def table2() -> Sheet:
    """The sheet of table 2."""
    lines = [(CATALOGUE[line["data"]], line) for line in read_table("table2")]
    records = tuple(record(row, line) for row, line in lines)
    head = ("data set", "task, paper", "ours", "images, paper", "publisher", "splits, paper", "publisher's", "≠")
    rows = [
        (
            line["printed"],
            line["task"],
            each["task"],
            line["size"],
            f"{row.total:,}",
            line["splits"],
            " / ".join(f"{count:,}" for count in row.counts) if row.counts else "none",
            ", ".join(each["differs"]),
        )
        for (row, line), each in zip(lines, records, strict=True)
    ]
    notes = [f"{row.title}: {sentence}." for row, _ in lines for sentence in row.contradictions]
    added = sum(sum(each["paper_splits"]) for each in records)
    private = [row.title for row, line in lines if line["availability"] == "Private"]
    return Sheet(
        "table2",
        "Table 2: the data sets",
        (
            f"The sixteen sizes of the table add up to {added:,} images; the abstract claims {TOTAL_CLAIMED:,}.",
            f"{' and '.join(private)} are private: what the paper reports on them cannot be checked by anyone else.",
        ),
        (Part("Paper and publisher", head, rows, ("≠ names what differs between the paper and the publisher.",)),),
        (*notes, "MC is multi-class, BC binary; licences, sources and cautions are in `medmamba info --data`."),
        records,
    )


def record(row: Row, line: dict[str, str]) -> dict[str, Any]:
    """One data set: what the paper prints as numbers, what the publisher says, and what differs."""
    printed_splits = tuple(number(part) for part in line["splits"].split("/"))
    task = f"{'BC' if row.task is Task.BINARY else 'MC'} ({len(row.classes)})"
    size = number(line["size"])
    differences = {
        "task": task != line["task"],
        "images": size != row.total,
        "splits": row.counts is not None and printed_splits != row.counts,
        "sum of the splits": sum(printed_splits) != size,
    }
    return {
        "data": row.name,
        "paper_task": line["task"],
        "task": task,
        "paper_images": size,
        "images": row.total,
        "paper_splits": printed_splits,
        "splits": row.counts,
        "availability": line["availability"],
        "differs": [name for name, differs in differences.items() if differs],
        "contradictions": list(row.contradictions),
    }


def number(text: str) -> int:
    """A printed count, wherever its comma stands: the paper writes 1,2400 and 1,4548."""
    return int(text.replace(",", ""))
