"""What a worker is asked for: one unit of a plan, and where."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from medmamba.paper.backbone_runs import BackboneRun
from medmamba.paper.plans import Run

Unit = Run | BackboneRun
_KINDS: dict[str, type[Unit]] = {"run": Run, "backbone": BackboneRun}


@dataclass(frozen=True)
class Job:
    """What a worker is asked for.

    Attributes:
        run: Which run, or which backbone.
        data: Folder of data.
        out: Folder of the results.
        work: Folder for what is unfinished.
        device: As for `medmamba train`.
        workers: Processes that augment images, where those do not live on the GPU.
        commit: Of this code, where that is known.
        keep: Folder for the trained model, under the run's name; None throws it away, but for backbones, which stay in
            `work`.
    """

    run: Unit
    data: str
    out: str
    work: str
    device: str
    workers: int = 0
    commit: str | None = None
    keep: str | None = None

    @property
    def models(self) -> Path:
        """Folder that holds the backbones."""
        return Path(self.keep or self.work)

    def to_json(self) -> str:
        """The argument of a worker."""
        kind = next(name for name, each in _KINDS.items() if isinstance(self.run, each))
        return json.dumps(asdict(self) | {"kind": kind})

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The inverse of `to_json`."""
        entries = json.loads(text)
        kind = _KINDS[entries.pop("kind")]
        return cls(**{**entries, "run": kind(**entries["run"])})
