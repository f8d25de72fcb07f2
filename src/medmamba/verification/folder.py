"""What the folder of a run promises by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from medmamba import __version__, backbone, card
from medmamba.backbone import Backbone, load_start
from medmamba.bundle import BACKBONE, CARD, DESCRIPTION, SCOPE, WEIGHTS, Bundle
from medmamba.errors import InputError
from medmamba.manifest import digest_of, find_file
from medmamba.training.checkpoint import PREVIOUS, RESUME
from medmamba.training.provenance import installed
from medmamba.verification.network import check_answers, check_decisions, check_tensors
from medmamba.verification.outcome import ImpossibleError, Row
from medmamba.verification.progress import check_history, check_resume

_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}|.+\.new")  # what `medmamba.writing` writes before it takes a file's place
_RECORDED = ("command", "seed", "date", "versions", "machine", "seconds", "data")


class Run:
    """A folder, what it holds read when it is asked for.

    Attributes:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def description_file(self) -> Path:
        """`bundle.json`, or `backbone.json` where there is that."""
        path = self.folder / BACKBONE
        return path if path.is_file() else self.folder / DESCRIPTION

    @cached_property
    def entries(self) -> dict[str, Any]:
        """The description as JSON has it."""
        entries: dict[str, Any] = json.loads(self.description_file.read_text(encoding="utf-8"))
        return entries

    @cached_property
    def description(self) -> Bundle | Backbone:
        """What the folder says it holds."""
        return load_start(self.folder)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where it comes from."""
        return self.description.provenance


def check_description(run: Run) -> str:
    """Whether the description reads."""
    if not run.description_file.is_file():
        raise ImpossibleError("no epoch was finished yet, so there is no model; resume the run")
    found = run.description
    what = f"a backbone of {len(found.heads)} data sets" if isinstance(found, Backbone) else f"a {found.task} model"
    return f"{run.description_file.name}: {found.model}, {what}, {len(found.classes)} outputs"


def check_files(run: Run) -> str:
    """Whether the files are those that the description was written with."""
    named: Mapping[str, str] = run.entries.get("files") or {}
    if not named:
        raise ImpossibleError(f"{run.description_file.name} names no digests; an earlier version wrote it")
    scope = isinstance(run.description, Bundle) and run.description.decisions.scope is not None
    if lacking := [name for name in (WEIGHTS, *([SCOPE] if scope else ())) if name not in named]:
        raise InputError(f"{run.description_file.name} names no digest of {lacking[0]}; copy the folder again")
    for name, expected in named.items():
        if Path(name).name != name:
            raise InputError(f"{run.description_file.name} names {name!r}, which is no file of the folder")
        find_file(run.folder, name, expected)
    return f"{', '.join(named)}: the SHA-256 that {run.description_file.name} names"


def check_card(run: Run) -> str:
    """Whether the card contradicts the description. What an earlier version did not tell in a card may be missing."""
    path, found = run.folder / CARD, run.description
    if not path.is_file():
        raise ImpossibleError(f"there is no {CARD}")
    told = (card.card(found) if isinstance(found, Bundle) else backbone.card(found)).splitlines()
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(("#", "|"))]
    if wrong := [line for line in lines if line not in told]:
        raise InputError(
            f"{CARD} says {wrong[0]!r}, which {run.description_file.name} does not; it was changed by hand"
        )
    return f"{CARD} says what {run.description_file.name} says"


def check_provenance(run: Run) -> str:
    """Whether the record of the run has all that a run records."""
    origin = run.provenance
    if "epochs" not in origin:
        made = origin.get("command") or origin.get("start") or "unknown"
        raise ImpossibleError(f"it was not trained here but made from other models ({made})")
    if lacking := [name for name in _RECORDED if origin.get(name) is None]:
        raise ImpossibleError(f"an earlier version wrote it, which did not record {', '.join(lacking)}")
    return f"it has {', '.join(_RECORDED)}"


def check_splits(run: Run) -> str:
    """Whether the table of splits is the one that the run wrote."""
    recorded = run.provenance.get("split_file")
    if not recorded:
        raise ImpossibleError("the run wrote no table of splits, or an earlier version did, which did not record it")
    path = run.folder / Path(recorded["name"]).name
    if not path.is_file():
        raise ImpossibleError(f"{path.name} is not in the folder")
    if digest_of(path) != recorded["sha256"]:
        raise InputError(f"{path.name} is not the table that the run wrote; copy it again before you evaluate with it")
    return f"{path.name} has the SHA-256 that was recorded"


def check_versions(run: Run) -> str:
    """Whether the packages are those of the run, without which its numbers come again only within rounding."""
    return told_versions(run.provenance.get("versions") or {})


def told_versions(recorded: Mapping[str, str]) -> str:
    """That the packages installed are those recorded, in words; ImpossibleError where they are not."""
    packages = {name: number for name, number in recorded.items() if name not in ("python", "cuda")}
    if not packages:
        raise ImpossibleError("no versions were recorded")
    now = {name: installed(name) for name in packages} | {"medmamba": __version__}
    if other := [f"{name} {then}, here {now[name] or 'none'}" for name, then in packages.items() if now[name] != then]:
        raise ImpossibleError(f"{'; '.join(other)}: numbers come again within rounding, not bit for bit")
    return f"installed are those recorded: {', '.join(f'{name} {number}' for name, number in packages.items())}"


def check_leftovers(run: Run) -> str:
    """Whether a writing was cut short."""
    left = sorted(path.name for path in run.folder.iterdir() if _LEFTOVER.fullmatch(path.name))
    if left:
        raise InputError(f"{', '.join(left)}: left by a writing that was cut short, or that goes on; resume tidies up")
    return "no writing was cut short"


CHECKS: tuple[Row[Run], ...] = (
    Row("description", check_description),
    Row("files", check_files, ("description",)),
    Row("tensors", lambda run: check_tensors(run.folder, run.description), ("description",)),
    Row("network", lambda run: check_answers(run.folder, run.description), ("description", "tensors")),
    Row("decisions", lambda run: check_decisions(run.folder, run.description), ("description", "tensors", "network")),
    Row("card", check_card, ("description",)),
    Row("provenance", check_provenance, ("description",)),
    Row("history", lambda run: check_history(run.folder, run.provenance), ("description",)),
    Row("splits", check_splits, ("description",)),
    Row(RESUME, lambda run: check_resume(run.folder / RESUME, run)),
    Row(PREVIOUS, lambda run: check_resume(run.folder / PREVIOUS, run)),
    Row("versions", check_versions, ("description",)),
    Row("leftovers", check_leftovers),
)
