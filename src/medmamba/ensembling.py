"""Several trained models become one bundle, whose answer is the mean of their probabilities."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medmamba import __version__
from medmamba.bundle import Bundle, Member, load_bundle, load_model
from medmamba.data.related import seen_by, united
from medmamba.errors import InputError
from medmamba.predictor.opening import check_alike
from medmamba.text import counted
from medmamba.writing import new_folder


def ensemble(
    models: Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    mirror: bool = False,
    command: str | None = None,
) -> Path:
    """Make one bundle of several: seeds of one model, or other models and recipes that were trained on the same images.

    The answer is the mean of the members' probabilities, of each label by itself where there are several; all members
    weigh the same. Each answers by its network alone: the temperatures, thresholds, prediction sets and scopes that
    `calibrate` chose for them are left out, because a mean of calibrated answers is not calibrated (Rahaman & Thiery
    2021). `calibrate` the new bundle.

    Args:
        models: Bundles, each with a network of its own. One is enough with `mirror`.
        out: Folder for the new bundle; new or empty.
        mirror: Ask each network of the picture and of its left-right mirror image, and take the mean of both. Wrong for
            pictures in which the side matters.
        command: What the provenance keeps as the command.

    Returns:
        The folder.

    Raises:
        InputError: A folder is no bundle, is damaged, or is an ensemble itself; one is named twice, or fewer than two
            are without `mirror`; they have other classes, tasks or preprocessing than the first, or were trained on
            other images or another cut of them; or `out` is not free. Nothing is written then.
    """
    folders, out = [Path(folder) for folder in models], Path(out)
    _check_request(folders, out, mirror)
    bundles = [load_bundle(folder) for folder in folders]
    for folder, bundle in zip(folders, bundles, strict=True):
        _check_member(folders[0], bundles[0], folder, bundle)
    first = bundles[0]
    made = Bundle(
        model=name_of([bundle.model for bundle in bundles], mirror),
        task=first.task,
        classes=first.classes,
        preprocessing=first.preprocessing,
        positive=first.positive,
        provenance=_provenance(bundles, command),
        members=tuple(Member(bundle.model, bundle.model_args) for bundle in bundles),
        mirror=mirror,
    )
    tensors = {
        f"members.{number}.{name}": tensor
        for number, (folder, bundle) in enumerate(zip(folders, bundles, strict=True))
        for name, tensor in load_model(folder, bundle).state_dict().items()
    }
    with new_folder(out) as folder:
        made.save(folder, tensors)
    return out


def name_of(models: Sequence[str], mirror: bool) -> str:
    """What an ensemble is, in words: `ensemble of 3 x medmamba_nano`; `mirrored medmamba_nano` of a single network."""
    mirrored = "mirrored " if mirror else ""
    if len(models) == 1:
        return f"{mirrored}{models[0]}"
    counts = Counter(models)
    return f"{mirrored}ensemble of " + " + ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.items())


def _check_request(folders: Sequence[Path], out: Path, mirror: bool) -> None:
    if len(folders) < (1 if mirror else 2):
        raise InputError(
            f"{counted(len(folders), 'model')} cannot make an ensemble; name two or more, or one to be asked of "
            "mirrored pictures too"
        )
    taken: set[Path] = set()
    for folder in folders:
        if folder.resolve() in taken:
            raise InputError(f"{folder} is named twice, which would only weigh it more; name each model once")
        taken.add(folder.resolve())
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already and not empty; name another folder")


def _check_member(first_folder: Path, first: Bundle, folder: Path, bundle: Bundle) -> None:
    """Refuse a model that cannot stand beside the first."""
    if bundle.members:
        raise InputError(f"{folder} is an ensemble already; name the models that it was made of instead")
    check_alike(first, bundle)
    if bundle.positive != first.positive:
        names = [each.classes[each.positive] for each in (bundle, first)]
        raise InputError(
            f"{folder} has the positive class {names[0]!r} and {first_folder} {names[1]!r}; give models of one question"
        )
    ours, theirs = first.preprocessing.to_dict(), bundle.preprocessing.to_dict()
    if different := [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]:
        told = ", ".join(f"{name} {theirs.get(name)} and {ours.get(name)}" for name in different)
        raise InputError(f"{folder} and {first_folder} read images differently ({told}); train both with the same")
    if not _same_images(first, bundle):
        raise InputError(
            f"{folder} was trained on other images than {first_folder}, or on other splits of them, so that what tests "
            "one may have trained the other; train all on the same splits, which medmamba split makes once for all"
        )


def _same_images(first: Bundle, other: Bundle) -> bool:
    """Whether both were trained last on the same images, or neither says on which."""
    ours, theirs = (seen_by(bundle.provenance)[-1:] for bundle in (first, other))
    return first is other or ours == theirs == () or (bool(ours and theirs) and ours[0].is_like(theirs[0]))


def _provenance(bundles: Sequence[Bundle], command: str | None) -> dict[str, Any]:
    """That of each member, and what is true of all of them together."""
    origins: list[Mapping[str, Any]] = [bundle.provenance for bundle in bundles]
    told = [origin.get("data") or {} for origin in origins]
    lines = {
        name: list(dict.fromkeys(line for each in told for line in each.get(name) or ()))
        for name in ("notes", "allowed")
    }
    treated = dict.fromkeys(str(origin["imbalance"]) for origin in origins if origin.get("imbalance"))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"medmamba": __version__},
        "command": command or "medmamba.ensemble",
        # of the first member: where the splits were made, all members were trained with those of its seed
        **({"seed": origins[0]["seed"]} if "seed" in origins[0] else {}),
        "data": {**told[0], **lines, **united(origins)},
        **({"imbalance": "; ".join(treated)} if treated else {}),
        "members": [dict(origin) for origin in origins],
    }
