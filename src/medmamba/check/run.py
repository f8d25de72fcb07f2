"""`check`: a data set in, everything that is wrong with it out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medmamba.check.duplicates import find_duplicates
from medmamba.check.findings import KINDS, Finding, check_names
from medmamba.check.judge import judge, table_of
from medmamba.check.scan import Scan, scan
from medmamba.data.dataset import Dataset
from medmamba.data.faults import FAULTS
from medmamba.data.listing import RowsError
from medmamba.data.opening import open_data
from medmamba.data.reading import DEFAULT
from medmamba.data.settings import Reading
from medmamba.errors import InputError

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        data: Name, task, classes, notes, and whether the splits were made here.
        table: A row for each split and class that has images: counts, sizes, kinds, brightness.
        findings: In the order of `KINDS`.
        seen: Where the pictures are, for the page: the data set and the scan.
    """

    data: dict[str, Any]
    table: list[dict[str, Any]]
    findings: list[Finding]
    seen: tuple[Dataset, Scan] | None = None

    @property
    def wrong(self) -> bool:
        """Whether something is wrong that was not allowed."""
        return any(finding.wrong for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As `check.json` holds it."""
        return {
            "format": 1,
            "wrong": self.wrong,
            "data": self.data,
            "table": self.table,
            "findings": [
                {
                    "name": finding.name,
                    "wrong": finding.wrong,
                    "allowed": finding.allowed,
                    "sentence": finding.sentence,
                    "images": [list(group) for group in finding.groups],
                    **finding.details,
                }
                for finding in self.findings
            ],
        }


def check(
    data: Dataset,
    *,
    allow: Collection[str] = (),
    before: Sequence[Finding] = (),
    reading: Reading = DEFAULT,
    progress: Progress | None = None,
) -> Report:
    """Look at every image of a data set once.

    Args:
        data: The data set.
        allow: Names of findings that do not make the check fail.
        before: What was found when it was opened.
        reading: How files are read, as training will.
        progress: Called with (steps done, steps in all, what is being done).

    Raises:
        InputError: A name to allow is unknown.
    """
    check_names(allow)
    told = progress or (lambda done, total, step: None)
    seen = scan(data, reading=reading, progress=lambda done, total: told(done, total, "reading"))
    groups = find_duplicates(
        [look.digest for look in seen.looks],
        seen.thumbs,
        progress=lambda done, total: told(done, total, "comparing"),
    )
    found = [*before, *judge(seen, groups, data)]
    order = list(KINDS)
    return Report(
        data={
            "name": data.name,
            "task": data.task.value,
            "classes": list(data.classes),
            "splits made here": list(data.made_splits),
            "images": len(seen.looks) + len(seen.unreadable),
            "notes": list(data.notes),
        },
        table=table_of(seen, data),
        findings=[
            replace(finding, allowed=finding.name in allow)
            for finding in sorted(found, key=lambda finding: order.index(finding.name))
        ],
        seen=(data, seen),
    )


def open_leniently(spec: str, **options: Any) -> tuple[Dataset, list[Finding]]:
    """Open a data set without the images that training would refuse it for, and say what is wrong with these.

    Args:
        spec: As for `open_data`.
        options: Of `open_data`.

    Raises:
        InputError: The data set cannot be opened without them either.
    """
    found: list[Finding] = []
    left_out: set[str] = set()
    while True:
        try:
            return open_data(spec, allow=tuple(FAULTS), leave_out=left_out, **options), found
        except RowsError as reason:
            if set(reason.names) <= left_out:
                raise
            left_out.update(reason.names)
            found.append(Finding("unusable", str(reason), [[name] for name in reason.names]))
        except InputError:
            if not found:
                raise
            raise InputError(found[0].sentence) from None  # what is left is nothing, and this is why


def not_opened(spec: str, reason: str) -> Report:
    """The report of a data set that cannot be opened."""
    return Report({"name": Path(spec).name, "images": 0, "notes": []}, [], [Finding("not-opened", reason)])
