"""Which sets a figure of trained models shows, with which models, and why a place is empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medmamba.bundle import Bundle, load_bundle
from medmamba.errors import InputError
from medmamba.paper.figures.inputs import Inputs
from medmamba.paper.sets import ABSENT, SOURCES, Source, check_folder, find

UNTRAINED, NO_MEDMAMBA = "no trained model was given", "no trained MedMamba was given"


@dataclass(frozen=True)
class Place:
    """One set of a figure.

    Attributes:
        source: The set.
        data: Where it lies; None where it is absent.
        folders: Trained models of it, in the order in which they were given.
        bundles: What these are.
    """

    source: Source
    data: Path | None
    folders: tuple[Path, ...]
    bundles: tuple[Bundle, ...]

    @property
    def why_empty(self) -> str | None:
        """Why nothing can be shown; None where something can."""
        return ABSENT if self.data is None else None if self.folders else UNTRAINED


def places(inputs: Inputs, usual: Sequence[str], also: Sequence[str]) -> list[Place]:
    """The sets of a figure: the usual ones, and behind them those of the paper of which a trained model was given.

    Args:
        inputs: What there is.
        usual: Sets that are shown in any case.
        also: Sets that the paper's figure has, and that few can get.

    Raises:
        InputError: A folder is no trained model, a set is unknown, or there is nothing to show.
    """
    check_folder(inputs.data)
    given = inputs.bundles_by_set()
    found = []
    for name in dict.fromkeys((*usual, *(name for name in also if name in given))):
        folders = tuple(given.get(name, ()))
        bundles = tuple(load_bundle(folder) for folder in folders)
        found.append(Place(SOURCES[name], find(inputs.data, name), folders, bundles))
    if all(place.why_empty for place in found):
        reasons = ", ".join(f"{place.source.name}: {place.why_empty}" for place in found)
        raise InputError(f"there is nothing to show ({reasons}); leave --no-run out to train the models that it shows")
    return found


def first_like(place: Place, *wanted: tuple[str, str | None]) -> int | None:
    """Which of a set's models to show: the first that fits a pair of (start of the model's name, recipe or None).

    Earlier pairs go before later ones; None where no model fits any.
    """
    for start, recipe in wanted:
        for index, bundle in enumerate(place.bundles):
            made = (bundle.provenance.get("recipe") or {}).get("name")
            if bundle.model.startswith(start) and recipe in (None, made):
                return index
    return None
