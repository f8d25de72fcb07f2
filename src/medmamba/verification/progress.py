"""Whether the table of epochs and the state to resume from belong to the model beside them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from medmamba.errors import InputError
from medmamba.training.checkpoint import read_checkpoint
from medmamba.training.history import Epoch, best_of, read_history
from medmamba.verification.outcome import ImpossibleError

HISTORY = "history.csv"
UNFINISHED = "not finished"  # as `Keeper` records it until the run ends


class Described(Protocol):
    """A folder with a description, or without one where no epoch was finished."""

    @property
    def description_file(self) -> Path: ...

    @property
    def provenance(self) -> Mapping[str, Any]: ...


def check_history(folder: Path, provenance: Mapping[str, Any]) -> str:
    """Whether the table of epochs tells of the run that the provenance tells of.

    While a run goes on, weights and description are replaced at each best epoch alone, before the table is: so the
    table may be longer, and one epoch shorter where the run was killed between the two.
    """
    if not (folder / HISTORY).is_file() or "epochs" not in provenance:
        raise ImpossibleError(f"there is no {HISTORY} or no training in the record to compare")
    epochs, recorded, best = read_history(folder / HISTORY), provenance["epochs"], provenance["best_epoch"]
    if [epoch.epoch for epoch in epochs] != list(range(1, len(epochs) + 1)):
        raise InputError(f"{HISTORY} does not count its epochs from 1 on")
    goes_on = provenance.get("ended") == UNFINISHED
    if goes_on and len(epochs) == recorded - 1:
        return f"{HISTORY} lacks epoch {recorded}, at whose end the run was killed; resuming repeats it"
    if len(epochs) < recorded or (len(epochs) > recorded and not goes_on):
        raise InputError(f"{HISTORY} has {len(epochs)} epochs, the description {recorded}; one is of another run")
    _check_best(epochs, best, provenance.get("validation") or {})
    return f"{HISTORY} has {len(epochs)} epochs, the best of them {best}, as the description says"


def _check_best(epochs: Sequence[Epoch], best: int, validation: Mapping[str, Any]) -> None:
    found = best_of(epochs)
    if found is None or found.epoch != best:
        told = "none" if found is None else found.epoch
        raise InputError(f"the best epoch of {HISTORY} is {told}, of the description {best}; one is of another run")
    ours, theirs = (found.val_loss, found.val_auc), (validation.get("loss"), validation.get("auc"))
    if ours != theirs:
        raise InputError(f"epoch {best} has loss and AUC {ours} in {HISTORY}, {theirs} in the description")


def check_resume(path: Path, run: Described) -> str:
    """Whether a state to resume from reads and is one of this run. It is read as tensors and plain values only."""
    if not path.is_file():
        raise ImpossibleError(f"there is no {path.name}")
    state = read_checkpoint(path)
    epochs = [Epoch(**epoch) for epoch in state["history"]]
    if run.description_file.is_file():
        _check_same_run(path, state, _provenance(run))
    try:
        told = read_history(path.parent / HISTORY)
    except (ValueError, KeyError, TypeError, csv.Error):
        raise ImpossibleError(f"it reads; {HISTORY} does not, with which it is compared") from None
    shared = list(zip(epochs, told, strict=False))
    if other := [mine.epoch for mine, theirs in shared if mine != theirs]:
        raise InputError(f"{path.name} and {HISTORY} tell of different epochs {other[0]}; one is of another run")
    return f"{path.name} goes on after epoch {len(epochs)}"


def _provenance(run: Described) -> Mapping[str, Any]:
    try:
        return run.provenance
    except InputError:
        raise ImpossibleError(f"{run.description_file.name} does not read, with which it is compared") from None


def _check_same_run(path: Path, state: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    for name in ("seed", "date", "command"):
        mine, theirs = state["provenance"].get(name), provenance.get(name)
        if mine != theirs:
            raise InputError(f"{path.name} is of another run: its {name} is {mine!r}, that of the model {theirs!r}")
    mine = state["identity"]["fingerprint of the data"]
    theirs = (provenance.get("data") or {}).get("fingerprint")
    if mine != theirs:
        raise InputError(f"{path.name} is of a run on other data: fingerprint {mine}, that of the model {theirs}")
