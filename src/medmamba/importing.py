"""A published checkpoint becomes a bundle."""

from __future__ import annotations

from pathlib import Path

from medmamba.bundle import Bundle
from medmamba.data import Preprocessing
from medmamba.errors import InputError
from medmamba.tasks import Task
from medmamba.writing import new_folder


def import_checkpoint(
    checkpoint: Path,
    out: Path,
    *,
    classes: tuple[str, ...] = (),
    new_head: bool = False,
    image_size: tuple[int, int] = (224, 224),
) -> str:
    """Read a checkpoint of the published code and write a bundle.

    Args:
        checkpoint: The `.pth` file.
        out: Folder for the bundle; new or empty.
        classes: Names of the outputs in order; `class0`, `class1`, ... if empty.
        new_head: Replace the classifier by an untrained one with an output for each of `classes`.
        image_size: Height and width in pixels that images are resized to.

    Returns:
        What was loaded, missing and unexpected, in words.

    Raises:
        InputError: The file is no such checkpoint, the classes do not fit it, or the folder is not free.
    """
    from medmamba.models.official import read_checkpoint, recognise

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already and not empty; name another folder")
    published = recognise(read_checkpoint(checkpoint))
    arguments = published.arguments
    outputs = len(classes) if new_head else arguments["num_classes"]
    names = classes or tuple(f"class{i}" for i in range(arguments["num_classes"]))
    if len(names) != outputs or outputs == 0:
        raise InputError(
            f"{checkpoint} has {arguments['num_classes']} outputs and {len(classes)} classes were named; name one for "
            "each, or replace the classifier with --new-head"
        )
    model, report = published.load(num_classes=outputs)
    shape = {key: value for key, value in arguments.items() if key not in ("in_chans", "num_classes")}
    bundle = Bundle(
        model=published.model,
        model_args={key: list(value) if isinstance(value, tuple) else value for key, value in shape.items()},
        task=Task.BINARY if len(names) == 2 else Task.MULTICLASS,
        classes=names,
        positive=len(names) - 1 if len(names) == 2 else 1,
        preprocessing=Preprocessing(*image_size, channels=int(arguments["in_chans"])),
        provenance={"start": "a published checkpoint" + (", with a new, untrained classifier" if new_head else "")},
    )
    with new_folder(out) as folder:
        bundle.save(folder, model.state_dict())
    return str(report)
