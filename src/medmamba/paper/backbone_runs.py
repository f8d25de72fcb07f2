"""Backbones that runs start from: what each is trained on, and the file that it leaves among the results.

`backbones/NAME-seedK.json` says what was trained on what and how the validation images of each set fared. The weights
lie in a folder of the same name among the trained models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.bundle import BACKBONE
from medmamba.errors import InputError
from medmamba.paper.plans import backbone_name
from medmamba.paper.sets import locate
from medmamba.paper.variants import option_words, recipe_words

if TYPE_CHECKING:
    from medmamba.backbone import Backbone
    from medmamba.data.dataset import Dataset

SCHEMA = 1
PASSED_ON = ("name", "sets", "commit", "seed", "device", "seconds", "recipe", "epochs", "best_epoch")


@dataclass(frozen=True)
class BackboneRun:
    """One training on several data sets, for runs to start from.

    Attributes:
        init: What runs call it.
        sets: Two or more names, as those of a run.
        model: Registry name.
        recipe: Name of a recipe in the package.
        image_size: Height and width in pixels.
        seed: 0 or more.
        epochs: In place of the recipe's.
    """

    init: str
    sets: tuple[str, ...]
    model: str
    recipe: str
    image_size: int = 224
    seed: int = 0
    epochs: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sets", tuple(self.sets))  # JSON has lists only

    @property
    def name(self) -> str:
        """Its place among the results, without an ending: `backbones/apart-seed0`."""
        return backbone_name(self.init, self.seed)

    @property
    def needs(self) -> str:
        """As that of a run: nothing must be there before."""
        return ""

    @property
    def changes(self) -> dict[str, Any]:
        """All that replaces a setting of the recipe."""
        return {} if self.epochs is None else {"epochs": self.epochs}

    def file(self, results: Path) -> Path:
        """Its file in a folder of results."""
        return results / f"{self.name}.json"

    def command(self, folder: Path) -> str:
        """The command line that trains the same; paths are below the folder of data."""
        paths = [str(locate(folder, name).relative_to(folder)) for name in self.sets]
        recipe, comment = recipe_words(self.recipe, self.changes)
        words = ["medmamba pretrain", *paths, "--out", self.name, "--model", self.model, "--recipe", recipe]
        words += [f"--image-size {self.image_size} {self.image_size} --seed {self.seed}"]
        return " ".join([*words, *option_words(self.changes)]) + comment


def told(run: BackboneRun, sets: Sequence[Dataset], backbone: Backbone, commit: str | None) -> dict[str, Any]:
    """What the file of a backbone says.

    Args:
        run: Which backbone.
        sets: Its data.
        backbone: What was trained.
        commit: Of this code, where that is known.
    """
    from medmamba.data.related import sources_of

    origin = backbone.provenance
    validation = origin["validation"]
    data = [
        {
            "name": name,
            "file": each.name,
            "fingerprint": about["fingerprint"],
            "derived_from": list(sources_of(each)),
            "classes": list(each.classes),
            "images": about["images"],
            "share": about["share"],
            "validation_auc": row["auc"],
        }
        for name, each, about, row in zip(run.sets, sets, origin["data"]["sets"], validation["per_set"], strict=True)
    ]
    return {
        "schema": SCHEMA,
        "name": run.init,
        "sets": list(run.sets),
        "data": data,
        "validation": {"n": validation["n"], "auc": validation["auc"]},
        "model": run.model,
        "recipe": run.recipe,
        "recipe_settings": origin["recipe"],
        "image_size": [run.image_size, run.image_size],
        "seed": run.seed,
        "epochs": origin["epochs"],
        "best_epoch": origin["best_epoch"],
        "seconds": origin["seconds"],
        "device": origin["device"],
        "scan_backend": origin["backend"],
        "command": origin["command"],
        "commit": commit,
        "versions": origin["versions"],
    }


def read_backbone(path: Path) -> dict[str, Any]:
    """What the JSON file of a backbone holds.

    Raises:
        InputError: It cannot be read, or is of another kind.
    """
    again = "delete it, and the backbone is made again"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise InputError(f"{path} is no file of a backbone ({reason}); {again}") from reason
    if not isinstance(entries, dict) or entries.get("schema") != SCHEMA or "data" not in entries:
        raise InputError(f"{path} is no file of a backbone of schema {SCHEMA}; {again}")
    return entries


def passed_on(entries: Mapping[str, Any]) -> dict[str, Any]:
    """What the file of a run says of the backbone that it started from."""
    return {name: entries[name] for name in PASSED_ON}


def has_weights(folder: Path) -> bool:
    """Whether a folder holds a backbone whose training has ended."""
    from medmamba.training.checkpoint import has_checkpoint

    return (folder / BACKBONE).is_file() and not has_checkpoint(folder)
