"""The folder that `train` writes and every other verb reads: weights, and all that is needed to use them rightly.

`bundle.json` names the model, the classes in order, the preprocessing, the task and where all of it came from;
`weights.safetensors` holds the tensors; `card.md` says the same in words. Nothing in it is a pickle. Several networks
that answer as one (`medmamba.network.Ensemble`) are one bundle, with all tensors in one file. The description names the
SHA-256 of the other files and of itself, and all of them are replaced as one: see `medmamba.manifest`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.card import card
from medmamba.data.labels import check_class_names
from medmamba.data.preprocessing import Preprocessing
from medmamba.decisions import Decisions
from medmamba.errors import InputError, one_line, shown, suggest
from medmamba.manifest import check_files, find_file, named_files, read_description, undisturbed, write_together
from medmamba.tasks import Task
from medmamba.weights import build_for, pack_weights, read_shapes, read_tensors
from medmamba.writing import write_atomically

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 4
_FORMAT_WITHOUT_ENSEMBLES, _FORMAT_WITHOUT_DIGESTS = 1, 2  # of earlier versions, which are read
DESCRIPTION = "bundle.json"
BACKBONE = "backbone.json"  # what `pretrain` writes in its place; see `medmamba.backbone`
WEIGHTS = "weights.safetensors"
SCOPE = "scope.safetensors"  # see `medmamba.predictor.scope`
CARD = "card.md"
FILES = (WEIGHTS, SCOPE)  # that a description names with their digests
FOREIGN = ("checkpoint_path", "cache_dir", "features_only", "feature_cls")  # and whatever begins with `pretrained`


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
        check_network(self.model, self.model_args)


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
        files: SHA-256 of the files beside the description, by name, as they were when it was read; none before it was
            written. It says nothing of the model, so bundles compare equal without it.
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
    files: dict[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        check_files(self.files, FILES)
        check_network(self.model, self.model_args)
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

    def build_model(self, *, tried: bool = False) -> nn.Module:
        """A model of this description with fresh weights, drawn from torch's global generator.

        Args:
            tried: Whether it is known to take images of this size, as one is that was trained on them.
        """
        if not self.members:
            return self._network(self.model, self.model_args, tried)
        from medmamba.network import Ensemble

        networks = [self._network(member.model, member.model_args, tried) for member in self.members]
        return Ensemble(networks, mirror=self.mirror, independent=self.task is Task.MULTILABEL)

    def _network(self, model: str, model_args: Mapping[str, Any], tried: bool) -> nn.Module:
        from medmamba import network

        size = (self.preprocessing.height, self.preprocessing.width)
        arguments = {"num_classes": len(self.classes), "in_chans": self.preprocessing.channels, **model_args}
        if model not in network.VARIANTS:
            from medmamba.models import create_model

            return create_model(model, image_size=size, try_out=not tried, **arguments)
        # ours are built without timm, whose import would delay the start of `predict`
        try:
            network.check_size(size)
            return network.build(model, **arguments)
        except InputError:  # of `build_for`
            raise
        except (TypeError, ValueError) as reason:
            raise InputError(f"{model} cannot be built: {reason}") from reason
        except RuntimeError as reason:  # there is no memory for it
            raise InputError(f"{model} cannot be built ({one_line(reason)}); choose a smaller one") from reason

    def save(self, folder: str | os.PathLike[str], state_dict: Mapping[str, Tensor], *, half: bool = False) -> None:
        """Write description, weights and card into a folder, which is made if needed; all are replaced as one.

        Args:
            folder: Of the bundle.
            state_dict: The tensors by name.
            half: Round float32 to float16 on disk, for half the size.

        Raises:
            InputError: A number is too large for float16, whose largest is 65504.
            FailedError: Nothing can be written; what was there before is kept.
        """
        self._write(folder, {WEIGHTS: pack_weights(state_dict, half=half)})

    def save_description(self, folder: str | os.PathLike[str], *, scope: bytes | None = None) -> None:
        """Write `bundle.json` and `card.md` alone, for weights that are there already.

        Args:
            folder: Of the bundle.
            scope: A new `scope.safetensors` with it; None for the one that is there, if `decisions` name one.

        Raises:
            FailedError: Nothing can be written; or the folder has other weights by now than those of this bundle.
        """
        self._write(folder, {} if scope is None else {SCOPE: scope})

    def _write(self, folder: str | os.PathLike[str], new: Mapping[str, bytes]) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        kept = [WEIGHTS] if self.decisions.scope is None else [WEIGHTS, SCOPE]
        write_together(folder, DESCRIPTION, self.to_dict(), new, kept=kept, known=FILES, based_on=self.files)
        write_atomically(folder / CARD, card(self).encode())

    def to_dict(self) -> dict[str, Any]:
        """What `bundle.json` holds."""
        entries = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        changed = {
            "classes": list(self.classes),
            "task": self.task.value,
            "preprocessing": self.preprocessing.to_dict(),
            "decisions": self.decisions.to_dict(),
        }
        members = [asdict(member) for member in self.members]
        return {"format": FORMAT} | entries | changed | {"members": members}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Bundle:
        """The inverse of `to_dict`.

        Raises:
            InputError: An entry is missing, unknown or impossible, or the format is a newer one.
        """
        entries = dict(entries)
        version = entries.pop("format", "unknown")
        if version not in range(_FORMAT_WITHOUT_ENSEMBLES, FORMAT + 1):
            raise InputError(
                f"the bundle has format {version}, this version reads {_FORMAT_WITHOUT_ENSEMBLES} to {FORMAT}; "
                "update medmamba"
            )
        entries.setdefault("decisions", {})  # which a bundle of an earlier version has not
        if version == _FORMAT_WITHOUT_ENSEMBLES:
            entries |= {"members": [], "mirror": False}
        if version <= _FORMAT_WITHOUT_DIGESTS:
            entries |= {"files": {}}
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
    entries = read_description(path, FORMAT)
    try:
        bundle = Bundle.from_dict(entries)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as reason:
        raise InputError(f"{path} cannot be used: {reason}") from None
    needed = FILES if bundle.decisions.scope is not None else (WEIGHTS,)
    lacking = [name for name in needed if name not in bundle.files]
    if lacking and entries["format"] > _FORMAT_WITHOUT_DIGESTS:
        raise InputError(f"{path} cannot be used: it does not name the SHA-256 of {lacking[0]}; copy the folder again")
    return bundle


def load_model(folder: str | os.PathLike[str], bundle: Bundle | None = None) -> nn.Module:
    """The model of a bundle with its weights, on the CPU, in evaluation mode.

    Args:
        folder: A bundle.
        bundle: Its description, if it has been read already.

    Raises:
        InputError: The folder is no bundle, or its weights do not fit its description.
    """
    folder = Path(folder)
    if bundle is None:
        return undisturbed(folder, (DESCRIPTION, *FILES), lambda: load_model(folder, load_bundle(folder)))
    return undisturbed(folder, (WEIGHTS,), partial(_load_described, folder, bundle))


def _load_described(folder: Path, bundle: Bundle) -> nn.Module:
    path = find_file(folder, WEIGHTS, bundle.files.get(WEIGHTS))
    shapes = read_shapes(path)
    check_arguments(bundle, shapes)
    model = build_for(shapes, partial(bundle.build_model, tried=True), str(folder / DESCRIPTION))
    model.load_state_dict(read_tensors(path, model.state_dict()))
    return model.eval()


def check_network(model: Any, model_args: Any) -> None:
    """Raise `InputError` unless these are a name and arguments, none infinite or one that makes timm read elsewhere."""
    if not isinstance(model, str) or not isinstance(model_args, dict):
        raise InputError(f"a network is {model!r} with {model_args!r}; expected a name and an object")
    if foreign := [name for name in model_args if name in FOREIGN or name.startswith("pretrained")]:
        raise InputError(
            f"the model argument {foreign[0]} would have weights or code from elsewhere be loaded with every use; "
            "leave it out, and give weights to start from with --init"
        )
    for name, value in model_args.items():
        if not all(math.isfinite(each) for each in _leaves(value) if isinstance(each, float)):
            raise InputError(f"the model argument {name} is {shown(value)}; expected finite numbers")


def _leaves(value: Any) -> Iterator[Any]:
    """What is in lists and objects, at any depth."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value
        else:
            yield value


def check_arguments(bundle: Bundle, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `InputError` if a whole number among the model arguments is larger than anything in the weights."""
    largest = max((1024, *(side for shape in shapes.values() for side in shape)))
    for value in _leaves([bundle.model_args, *(member.model_args for member in bundle.members)]):
        if isinstance(value, int | float) and abs(value) > largest:
            raise InputError(f"the model argument {value} does not fit the weights, which have no side above {largest}")


def read_weights(folder: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a bundle or a backbone by name, on the CPU; those that lie there in float16 as float32.

    Raises:
        InputError: The file is missing or damaged: also where a number in it is another than was written.
    """
    folder = Path(folder)
    description = BACKBONE if (folder / BACKBONE).is_file() else DESCRIPTION

    def read() -> dict[str, Tensor]:
        return read_tensors(find_file(folder, WEIGHTS, named_files(folder / description).get(WEIGHTS)))

    return undisturbed(folder, (description, WEIGHTS), read)
