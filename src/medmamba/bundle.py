"""The folder that `train` writes and every other verb reads: weights, and all that is needed to use them rightly.

`bundle.json` names the model, the classes in order, the preprocessing, the task and where all of it came from;
`weights.safetensors` holds the tensors; `card.md` says the same in words. Nothing in it is a pickle. Several networks
that answer as one (`medmamba.network.Ensemble`) are one bundle, with all tensors in one file; its format has a number
of its own, so that a version of this package that knows nothing of ensembles refuses it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.card import card
from medmamba.data.labels import check_class_names
from medmamba.data.preprocessing import Preprocessing
from medmamba.decisions import Decisions
from medmamba.errors import InputError, suggest
from medmamba.tasks import Task
from medmamba.writing import write_atomically

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT, FORMAT_OF_ENSEMBLES = 1, 2
DESCRIPTION = "bundle.json"
BACKBONE = "backbone.json"  # what `pretrain` writes in its place; see `medmamba.backbone`
WEIGHTS = "weights.safetensors"
CARD = "card.md"
DIGEST = "sha256"  # in the metadata of the weights


@dataclass(frozen=True)
class Member:
    """One network of an ensemble; its tensors are called `members.0.`, `members.1.`, ... and their own name.

    Attributes:
        model: Name in timm's registry.
        model_args: More arguments of `create_model`, as JSON takes them.
    """

    model: str
    model_args: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not isinstance(self.model_args, dict):
            raise InputError(f"a member is {self.model!r} with {self.model_args!r}; expected a name and an object")


@dataclass(frozen=True)
class Bundle:
    """What a set of weights is and how it is used.

    Attributes:
        model: Name in timm's registry; of an ensemble what it is, in words.
        model_args: More arguments of `create_model`, as JSON takes them; none for an ensemble.
        task: Decides activation, decision rule and metrics.
        classes: Class names; output i of the model belongs to `classes[i]`.
        positive: Index of the positive class of a binary task.
        threshold: Probability from which a binary or multi-label model answers yes, 0 to 1; for multi-label also one
            for each label.
        preprocessing: How pixels reach the model.
        decisions: What is done with its logits, as `calibrate` chose it.
        provenance: Where the weights came from; every entry may be missing. Of an ensemble `members` has that of each.
        members: The networks whose mean probability is the answer; empty where one network answers by itself.
        mirror: Whether each member is asked of the picture and of its left-right mirror image.
    """

    model: str
    task: Task
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    model_args: dict[str, Any] = field(default_factory=dict)
    positive: int = 1
    threshold: float | tuple[float, ...] = 0.5
    decisions: Decisions = field(default_factory=Decisions)
    provenance: dict[str, Any] = field(default_factory=dict)
    members: tuple[Member, ...] = ()
    mirror: bool = False

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise InputError(f"the classes {list(self.classes)} are empty or repeat; give each class a name of its own")
        check_class_names(self.classes, "the bundle")
        if not 0 <= self.positive < max(2, len(self.classes)):
            raise InputError(f"positive class {self.positive} is none of the {len(self.classes)} classes")
        if self.mirror not in (True, False) or (self.mirror and not self.members):
            raise InputError(f"mirror is {self.mirror!r} with {len(self.members)} members; only an ensemble mirrors")
        if self.members and self.model_args:
            raise InputError(f"an ensemble has the model arguments {self.model_args}; only its members have some")
        self._check_thresholds()

    def _check_thresholds(self) -> None:
        several = isinstance(self.threshold, tuple)
        thresholds = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,)
        if not all(0 <= threshold <= 1 for threshold in thresholds):
            raise InputError(f"threshold {self.threshold} is no probability; expected 0 to 1")
        if several and (self.task is not Task.MULTILABEL or len(thresholds) != len(self.classes)):
            raise InputError(
                f"{len(thresholds)} thresholds do not fit a {self.task} task with {len(self.classes)} classes; "
                "only a multi-label task has several, one for each label"
            )

    def build_model(self) -> nn.Module:
        """A model of this description with fresh weights, drawn from torch's global generator."""
        if not self.members:
            return self._network(self.model, self.model_args)
        from medmamba.network import Ensemble

        networks = [self._network(member.model, member.model_args) for member in self.members]
        return Ensemble(networks, mirror=self.mirror, independent=self.task is Task.MULTILABEL)

    def _network(self, model: str, model_args: Mapping[str, Any]) -> nn.Module:
        from medmamba import network

        size = (self.preprocessing.height, self.preprocessing.width)
        arguments = {"num_classes": len(self.classes), "in_chans": self.preprocessing.channels, **model_args}
        if model not in network.VARIANTS:
            from medmamba.models import create_model

            return create_model(model, image_size=size, **arguments)
        # ours are built without timm, whose import would delay the start of `predict`
        try:
            network.check_size(size)
            return network.build(model, **arguments)
        except (TypeError, ValueError) as reason:
            raise InputError(f"{model} cannot be built: {reason}") from reason

    def save(self, folder: str | os.PathLike[str], state_dict: Mapping[str, Tensor], *, half: bool = False) -> None:
        """Write description, weights and card into a folder, which is made if needed; each file is replaced whole.

        Arguments and errors are those of `save_weights`.
        """
        save_weights(folder, state_dict, half=half)
        self.save_description(folder)

    def save_description(self, folder: str | os.PathLike[str]) -> None:
        """Write `bundle.json` and `card.md` alone, for weights that are there already."""
        write_json(Path(folder) / DESCRIPTION, self.to_dict())
        write_atomically(Path(folder) / CARD, card(self).encode())

    def to_dict(self) -> dict[str, Any]:
        """What `bundle.json` holds."""
        entries = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        changed = {
            "classes": list(self.classes),
            "task": self.task.value,
            "preprocessing": self.preprocessing.to_dict(),
            "decisions": self.decisions.to_dict(),
        }
        if not self.members:  # as versions that knew no ensembles wrote it, and read it
            del entries["members"], entries["mirror"]
            return {"format": FORMAT} | entries | changed
        members = [asdict(member) for member in self.members]
        return {"format": FORMAT_OF_ENSEMBLES} | entries | changed | {"members": members}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Bundle:
        """The inverse of `to_dict`.

        Raises:
            InputError: An entry is missing, unknown or impossible, or the format is a newer one.
        """
        entries = dict(entries)
        version = entries.pop("format", "unknown")
        if version not in (FORMAT, FORMAT_OF_ENSEMBLES):
            raise InputError(
                f"the bundle has format {version}, this version reads {FORMAT} and {FORMAT_OF_ENSEMBLES}; "
                "update medmamba"
            )
        entries.setdefault("decisions", {})  # which a bundle of an earlier version has not
        if version == FORMAT:
            entries.setdefault("members", [])
            entries.setdefault("mirror", False)
        known = {entry.name for entry in fields(cls)}
        if wrong := sorted(known.symmetric_difference(entries)):
            raise InputError(
                f"entries are missing or unknown: {', '.join(wrong)}; copy the file again or update medmamba"
            )
        tasks = tuple(task.value for task in Task)
        if entries["task"] not in tasks:
            raise InputError(f"there is no task {entries['task']!r}{suggest(str(entries['task']), tasks)}")
        entries["task"] = Task(entries["task"])
        entries["classes"] = tuple(entries["classes"])
        entries["preprocessing"] = Preprocessing.from_dict(entries["preprocessing"])
        entries["decisions"] = Decisions.from_dict(entries["decisions"])
        entries["members"] = tuple(Member(**each) for each in entries["members"])
        if isinstance(entries["threshold"], list):
            entries["threshold"] = tuple(entries["threshold"])
        return cls(**entries)


def load_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Read the description of a bundle; the weights are not touched.

    Raises:
        InputError: The folder is missing, is no bundle, or its description is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give the folder that train wrote")
    path = folder / DESCRIPTION
    if (folder / BACKBONE).is_file():
        raise InputError(
            f"{folder} holds a backbone that pretrain wrote, which has no classes of its own; train from it: "
            f"medmamba train DATA --init {folder}"
        )
    if not path.is_file():
        raise InputError(f"{folder} is no trained model: it holds no {DESCRIPTION}; give the folder that train wrote")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(entries, dict):
            raise InputError(f"it holds a {type(entries).__name__}, not an object")
        return Bundle.from_dict(entries)
    except (ValueError, TypeError, AttributeError) as reason:
        raise InputError(f"{path} cannot be used: {reason}") from None


def load_model(folder: str | os.PathLike[str], bundle: Bundle | None = None) -> nn.Module:
    """The model of a bundle with its weights, on the CPU, in evaluation mode.

    Args:
        folder: A bundle.
        bundle: Its description, if it has been read already.

    Raises:
        InputError: The folder is no bundle, or its weights do not fit its description.
    """
    bundle = bundle or load_bundle(folder)
    state = read_weights(folder)
    model = bundle.build_model()
    check_state(state, model.state_dict(), what=str(Path(folder) / WEIGHTS))
    model.load_state_dict(state)
    return model.eval()


def save_weights(folder: str | os.PathLike[str], state_dict: Mapping[str, Tensor], *, half: bool = False) -> None:
    """Write the tensors of a network into a folder, which is made if needed; the file is replaced whole.

    Args:
        folder: Of the bundle.
        state_dict: The tensors by name.
        half: Round float32 to float16 on disk, for half the size. `read_weights` gives float32 again, in which a
            network computes.

    Raises:
        InputError: A number is too large for float16, whose largest is 65504.
    """
    import torch
    from safetensors.torch import save

    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()}
    if half:
        tensors = {name: each.half() if each.dtype == torch.float32 else each for name, each in tensors.items()}
        if wrong := [name for name, each in tensors.items() if not each.isfinite().all()]:
            raise InputError(f"{wrong[0]} holds numbers that float16 cannot hold; save the weights in float32")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS, save(tensors, metadata={DIGEST: digest(tensors)}))


def read_weights(folder: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a bundle by name, on the CPU; those that lie there in float16 as float32.

    Raises:
        InputError: The file is missing or damaged: also where a number in it is another than was written.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise InputError(f"{folder} has no {WEIGHTS}; the bundle is incomplete, train again or copy it again")
    try:
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get(DIGEST)  # of earlier versions and other programs there is none
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except (SafetensorError, OSError) as reason:
        raise InputError(f"{path} is damaged ({reason}); copy it again or train again") from None
    if written is not None and written != digest(tensors):
        raise InputError(f"{path} is damaged (its numbers are not those that were written); copy it again")
    return {name: each.float() if each.dtype == torch.float16 else each for name, each in tensors.items()}


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the tensors of a file, their names, types and shapes, which lies in the file beside them."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def check_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, what: str) -> None:
    """Raise `InputError` with counts and a first example unless names and shapes of the tensors are those expected."""
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    reshaped = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    if any(faults.values()):
        counts = ", ".join(f"{len(names)} {fault} ({names[0]})" for fault, names in faults.items() if names)
        raise InputError(f"{what} does not fit the model: of {len(expected)} tensors expected, {counts}")


def write_json(path: str | os.PathLike[str], entries: Any) -> None:
    """Write JSON that any reader takes (no NaN), replacing the file whole."""
    text = json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    write_atomically(path, (text + "\n").encode())
