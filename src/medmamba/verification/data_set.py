"""Whether a data set is the one that a run was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from medmamba.backbone import Backbone, Head
from medmamba.bundle import Bundle
from medmamba.data import Dataset, open_data
from medmamba.data.identity import pixels
from medmamba.data.related import seen_by
from medmamba.errors import InputError
from medmamba.predictor.opening import open_for
from medmamba.training.provenance import class_counts
from medmamba.verification.folder import Run
from medmamba.verification.outcome import ImpossibleError, Row


@dataclass(frozen=True)
class Given:
    """A data set that was named beside a run; opened when it is asked for, its test split never.

    Attributes:
        run: The run.
        spec: What `open_data` takes.
        group_column: As of `open_data`.
        label_columns: As of `open_data`.
        allow: As of `open_data`.
    """

    run: Run
    spec: str
    group_column: str | None
    label_columns: tuple[str, ...]
    allow: tuple[str, ...]

    @cached_property
    def description(self) -> Bundle | Backbone:
        """That of the run; InputError where it does not read."""
        return self.run.description

    @cached_property
    def head(self) -> Bundle | Head:
        """What answers for it: the model, or one head of a backbone."""
        if isinstance(self.description, Bundle):
            return self.description
        name = self._open(None).name
        heads = [head for head in self.description.heads if head.name == name]
        if not heads:
            known = ", ".join(head.name for head in self.description.heads)
            raise InputError(f"the backbone has no head for {name}, only for {known}")
        return heads[0]

    @cached_property
    def data(self) -> Dataset:
        """With the classes of the run, cut as for its training."""
        return self._open(self.head)

    def _open(self, head: Bundle | Head | None) -> Dataset:
        if isinstance(head, Bundle):
            return open_for(
                head,
                self.spec,
                group_column=self.group_column,
                label_columns=self.label_columns,
                allow=self.allow,
            )
        return open_data(
            self.spec,
            task=None if head is None else str(head.task),
            classes=None if head is None else head.classes,
            group_column=self.group_column,
            label_columns=self.label_columns,
            seed=int(self.run.provenance.get("seed") or 0),
            allow=self.allow,
        )

    @property
    def recorded(self) -> Mapping[str, Any]:
        """What the run recorded of it."""
        about: Mapping[str, Any] = self.run.provenance.get("data") or {}
        if isinstance(self.head, Head):
            return next((each for each in about.get("sets") or () if each.get("name") == self.head.name), {})
        return about


def check_classes(given: Given) -> str:
    """Whether the data set has the classes of the model, which `open_for` sees to."""
    head = given.head
    if tuple(given.data.classes) != tuple(head.classes):
        raise InputError(f"it has the classes {', '.join(given.data.classes)}, the model {', '.join(head.classes)}")
    return f"the classes of the model: {', '.join(head.classes)}"


def check_fingerprint(given: Given) -> str:
    """Whether it has the training and validation images of the run: names, labels and splits.

    Pixels are read only where names and labels tell nothing, see `medmamba.data.identity.pixels`.
    """
    recorded = given.recorded.get("fingerprint")
    if recorded is None:
        raise ImpossibleError("the run recorded no fingerprint")
    seen = [each for each in seen_by(given.run.provenance) if each.fingerprint == recorded]
    if given.data.fingerprint() == recorded:
        if any(each.pixels not in (None, pixels(given.data)) for each in seen):
            raise InputError(
                f"{given.data.name} has the numbers of images of each class of the run's data, in the same "
                "order, but other images; give the file that the run was trained on"
            )
        return f"the fingerprint {recorded}"
    if any(each.is_same(given.data) for each in seen):
        return "the images and labels that were recorded, by other paths"
    raise InputError(
        f"{given.data.name} has other images, labels or splits than the run was trained on: its fingerprint is "
        f"{given.data.fingerprint()}, that of the run {recorded}"
    )


def check_counts(given: Given) -> str:
    """Whether each class has as many images in train and val as were recorded."""
    recorded: Mapping[str, Any] = given.recorded.get("counts") or {}
    if not recorded:
        raise ImpossibleError("the run recorded no counts")
    for name, counts in recorded.items():
        found = class_counts(given.data.split(name), given.data)
        if found != counts:
            raise InputError(f"{name} has {_told(found)}; recorded was {_told(counts)}")
    return "; ".join(f"{name} {_told(counts)}" for name, counts in recorded.items())


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


CHECKS: tuple[Row[Given], ...] = (
    Row("data: classes", check_classes),
    Row("data: fingerprint", check_fingerprint, ("data: classes",)),
    Row("data: counts", check_counts, ("data: classes",)),
)
