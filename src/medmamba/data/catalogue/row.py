"""What a row of the catalogue says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medmamba.tasks import Task

Counts = tuple[int, int, int]


@dataclass(frozen=True)
class Row:
    """One data set.

    Attributes:
        name: What it is called on the command line; for a MedMNIST set as in its file's name.
        title: As the paper, or its publisher, writes it.
        modality: What the images are, in the words of the paper's table 2 where it is there.
        task: What is asked.
        classes: Names in the order of the labels; for a multi-label set, of the columns.
        total: Images in all, as its publisher says.
        paper: Images in train, validation and test in the paper's table 2; None for a set that the paper does not use.
        licence: Of the images.
        source: Address of its page.
        citation: What its authors ask to cite.
        get: How to come by it.
        derived_from: Collections that its images come from, in `COLLECTIONS`: nothing tested on one of them may be
            trained on another part of it.
        perhaps_from: Collections that its images may come from, which nobody has written down.
        counts: Images in the train, validation and test splits that its publisher gives; None where none are given.
        class_counts: Images of each class, as its publisher says.
        patients: Number of patients, as its publisher says.
        contradictions: Where the paper contradicts itself, or the publisher, about it.
        cautions: Faults of the data that are known.
        unverified: Statements of this row that were not seen in print when it was written.
        channels: 1 (grey) or 3 (RGB), of a MedMNIST set.
        md5: Checksum of the official file by size, of a MedMNIST set.
        positive: Index of the positive class of a binary set; the last class elsewhere.
    """

    name: str
    title: str
    modality: str
    task: Task
    classes: tuple[str, ...]
    total: int
    paper: Counts | None
    licence: str
    source: str
    citation: str
    get: str
    derived_from: tuple[str, ...]
    perhaps_from: tuple[str, ...] = ()
    counts: Counts | None = None
    class_counts: Mapping[str, int] = field(default_factory=dict)
    patients: int | None = None
    contradictions: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    channels: int = 3
    md5: Mapping[int, str] = field(default_factory=dict)
    positive: int = -1

    @property
    def sources(self) -> tuple[str, ...]:
        """All collections that its images come from or may come from."""
        return (*self.derived_from, *self.perhaps_from)

    def file_name(self, size: int) -> str:
        """The name of the official MedMNIST file of that size."""
        return f"{self.name}.npz" if size == 28 else f"{self.name}_{size}.npz"
