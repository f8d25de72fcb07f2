"""How the probabilities of a trained model become answers: what `calibrate` fits on validation images and stores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from medmamba.errors import InputError


@dataclass(frozen=True)
class Conformal:
    """Sets of classes that hold the true one as often as promised (split conformal prediction, Sadinle et al. 2019).

    Attributes:
        error: Share of images whose true class may be missing from its set, 0 to 1.
        quantiles: One a class: it is in the set if its probability is at least one minus this, each 0 to 1.
        by_class: Whether each class has its own, so that the promise holds for each class; else for all together.
    """

    error: float
    quantiles: tuple[float, ...]
    by_class: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantiles", tuple(self.quantiles))  # JSON has lists only
        if not 0 < self.error < 1:
            raise InputError(f"error rate {self.error} of prediction sets is not possible; give one between 0 and 1")
        if not all(0 <= value <= 1 for value in self.quantiles):
            raise InputError(f"the quantiles {list(self.quantiles)} of prediction sets are not all between 0 and 1")


@dataclass(frozen=True)
class Decisions:
    """What is done with a network's logits.

    Attributes:
        temperature: They are divided by it (Guo et al. 2017), which changes no answer but how sure it is; above 0.
        conformal: How prediction sets are made, or None.
        scope: Share of the validation images that are told to be unlike the training images, 0 to 1, or None where no
            picture is; what decides lies in `scope.safetensors`.
        fitted: On which images all of this was chosen, and what was found there.
    """

    temperature: float = 1.0
    conformal: Conformal | None = None
    scope: float | None = None
    fitted: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"temperature {self.temperature} is not possible; expected a number above 0")

    def to_dict(self) -> dict[str, Any]:
        """What `bundle.json` holds of it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Decisions:
        """The inverse of `to_dict`.

        Raises:
            InputError: An entry is unknown or impossible.
        """
        known = {entry.name for entry in fields(cls)}
        if unknown := sorted(set(entries) - known):
            raise InputError(f"entries of the decisions are unknown: {', '.join(unknown)}; update medmamba")
        conformal = entries.get("conformal")
        return cls(**{**entries, "conformal": None if conformal is None else Conformal(**conformal)})
