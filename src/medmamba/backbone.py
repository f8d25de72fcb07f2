"""The folder that `pretrain` writes: a network that has learnt from several data sets, for `train` to start from.

`backbone.json` says what `bundle.json` says of a trained model, but that it has no classes of its own: its outputs are
those of the heads, one for each data set, one after the other. `weights.safetensors` holds the tensors, those of the
heads among them; `card.md` says the same in words.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.bundle import BACKBONE, CARD, WEIGHTS, Bundle, check_network, load_bundle
from medmamba.card import UNKNOWN, figure
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import InputError
from medmamba.manifest import check_files, read_description, write_together
from medmamba.tasks import Task
from medmamba.text import markdown_cell
from medmamba.weights import pack_weights
from medmamba.writing import write_atomically

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 3
_FORMAT_WITHOUT_DIGESTS = 1  # of earlier versions, which is read


@dataclass(frozen=True)
class Head:
    """The outputs that answer for one data set.

    Attributes:
        name: Of the data set.
        task: What is asked of them.
        classes: Their names, in order.
        positive: Index of the positive class of a binary task.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    positive: int = 1


@dataclass(frozen=True)
class Backbone:
    """What a pre-trained set of weights is.

    Attributes:
        model: Name in timm's registry.
        heads: Their outputs follow each other in the network's last layer, in this order.
        preprocessing: How pixels reached the model.
        model_args: More arguments of `create_model`, as JSON takes them.
        provenance: Where the weights came from.
        files: SHA-256 of `weights.safetensors`, by this name; as `Bundle` has it.
    """

    model: str
    heads: tuple[Head, ...]
    preprocessing: Preprocessing
    model_args: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        check_files(self.files, (WEIGHTS,))
        check_network(self.model, self.model_args)

    @property
    def classes(self) -> tuple[str, ...]:
        """What each output of the network answers, `DATA SET: CLASS`."""
        return tuple(f"{head.name}: {name}" for head in self.heads for name in head.classes)

    def build_model(self) -> nn.Module:
        """A model of this description with fresh weights, drawn from torch's global generator."""
        from medmamba.models import create_model

        shape = self.preprocessing
        arguments = {"in_chans": shape.channels, **self.model_args}
        return create_model(self.model, len(self.classes), image_size=(shape.height, shape.width), **arguments)

    def save(self, folder: str | os.PathLike[str], state_dict: Mapping[str, Tensor]) -> None:
        """Write weights, description and card into a folder, which is made if needed; all are replaced as one.

        Raises:
            FailedError: Nothing can be written; what was there before is kept.
        """
        self._write(folder, {WEIGHTS: pack_weights(state_dict)})

    def save_description(self, folder: str | os.PathLike[str]) -> None:
        """Write `backbone.json` and `card.md` alone, for weights that are there already.

        Raises:
            FailedError: Nothing can be written; or the folder has other weights by now than those of this backbone.
        """
        self._write(folder, {})

    def _write(self, folder: str | os.PathLike[str], new: Mapping[str, bytes]) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        entries = {"format": FORMAT} | asdict(self)
        write_together(folder, BACKBONE, entries, new, kept=(WEIGHTS,), known=(WEIGHTS,), based_on=self.files)
        write_atomically(folder / CARD, card(self).encode())

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Backbone:
        """The inverse of what `save_description` writes.

        Raises:
            InputError: The format is another one, or an entry is missing, unknown or impossible.
        """
        entries = dict(entries)
        version = entries.pop("format", "unknown")
        if version not in range(_FORMAT_WITHOUT_DIGESTS, FORMAT + 1):
            raise InputError(
                f"it has format {version}, this version reads {_FORMAT_WITHOUT_DIGESTS} to {FORMAT}; update medmamba"
            )
        if version == _FORMAT_WITHOUT_DIGESTS:
            entries |= {"files": {}}
        if wrong := sorted({entry.name for entry in fields(cls)}.symmetric_difference(entries)):
            raise InputError(f"entries are missing or unknown: {', '.join(wrong)}; copy the file again")
        heads = tuple(
            Head(each["name"], Task(each["task"]), tuple(each["classes"]), each["positive"])
            for each in entries["heads"]
        )
        shape = Preprocessing.from_dict(entries["preprocessing"])
        return cls(**{**entries, "heads": heads, "preprocessing": shape})


def load_backbone(folder: str | os.PathLike[str]) -> Backbone:
    """Read the description of a backbone; the weights are not touched.

    Raises:
        InputError: There is none in the folder, or it is damaged.
    """
    path = Path(folder) / BACKBONE
    entries = read_description(path, FORMAT)
    try:
        backbone = Backbone.from_dict(entries)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as reason:
        raise InputError(f"{path} cannot be used: {reason}") from None
    if entries["format"] > _FORMAT_WITHOUT_DIGESTS and WEIGHTS not in backbone.files:
        raise InputError(f"{path} cannot be used: it does not name the SHA-256 of {WEIGHTS}; copy the folder again")
    return backbone


def load_start(folder: str | os.PathLike[str]) -> Bundle | Backbone:
    """The description of what `train` or `pretrain` wrote.

    Raises:
        InputError: The folder is neither, or its description is damaged.
    """
    return load_backbone(folder) if (Path(folder) / BACKBONE).is_file() else load_bundle(folder)


def facts(backbone: Backbone) -> dict[str, str]:
    """What a user should know of a backbone, as text by name; what was not recorded reads `unknown`."""
    origin, shape = backbone.provenance, backbone.preprocessing
    data, validation = origin.get("data") or {}, origin.get("validation") or {}
    allowed = "; ".join(data.get("allowed") or ())
    areas = {row["name"]: figure(row["auc"]) for row in validation.get("per_set") or ()}
    return {
        "model": f"{backbone.model}, pre-trained: no classes of its own, train from it with --init",
        **({"trained in spite of": allowed} if allowed else {}),
        "input": str(shape),
        **{f"data set {number}": _told(data, head, areas) for number, head in enumerate(backbone.heads, start=1)},
        "images from": ", ".join(data.get("sources") or ()) or UNKNOWN,
        "has seen": ", ".join(each["name"] for each in data.get("seen") or ()) or UNKNOWN,
        "best epoch": str(origin.get("best_epoch", UNKNOWN)),
        "mean validation AUC": figure(validation.get("auc")),
        **{name: str(origin.get(name, UNKNOWN)) for name in ("start", "seed", "backend", "device", "date")},
    }


def _told(data: Mapping[str, Any], head: Head, areas: Mapping[str, str]) -> str:
    """One data set in words."""
    known: Mapping[str, Any] = next((each for each in data.get("sets") or () if each["name"] == head.name), {})
    share = f"{known['share']:.1%} of the images drawn" if "share" in known else "share unknown"
    images = " and ".join(f"{number} {split}" for split, number in (known.get("images") or {}).items()) or UNKNOWN
    area = areas.get(head.name, UNKNOWN)
    return f"{head.name}, {head.task} with {len(head.classes)} classes; {images} images, {share}; validation AUC {area}"


def card(backbone: Backbone) -> str:
    """A short card in Markdown."""
    rows = "\n".join(f"| {name} | {markdown_cell(value)} |" for name, value in facts(backbone).items())
    return f"""# {markdown_cell(backbone.model)}: a backbone from {len(backbone.heads)} data sets

Research software, not a medical device.

| | |
| --- | --- |
{rows}

It answers nothing by itself: `medmamba train DATA --init FOLDER` starts from it. No test split was opened. What it has
seen is passed on to every model that starts from it, so that none is tested on images that may be among them.
"""
