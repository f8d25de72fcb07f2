"""Heat maps of images: pictures, arrays and one table of what they show."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medmamba import __version__
from medmamba.bundle import Bundle
from medmamba.data import find_images, read_image
from medmamba.data.settings import Reading
from medmamba.errors import InputError, suggest
from medmamba.explain import pictures
from medmamba.explain.maps import HeatMapper, is_constant, map_of, network_of
from medmamba.explain.place import MAP, NOTE, OVERLAY, SHEET, TABLE, check_apart, check_names, plain_name
from medmamba.json_file import write_json
from medmamba.tasks import Task, decide
from medmamba.writing import make_folder, writable_folder, write_atomically

if TYPE_CHECKING:
    from medmamba.predictor import Classifier

EMPTY = "no positive evidence"
CONSTANT = f"{EMPTY}: every pixel of the picture has the same value"


@dataclass(frozen=True)
class _Job:
    """How every image is done."""

    classifier: Classifier
    mapper: HeatMapper
    targets: tuple[int, ...]
    colours: str
    reading: Reading
    out: Path


def heat_maps(
    classifier: Classifier,
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    targets: Sequence[str] = (),
    method: str | None = None,
    layers: Sequence[str] = (),
    colours: str = "safe",
    frame: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Show where in images a network finds evidence for a class.

    Args:
        classifier: A trained model, from `medmamba.load`; no exported file.
        images: Files, folders, glob patterns or list files; see `medmamba.data.find_images`.
        out: Folder for `explain.json` and, for each image and target, NAME-TARGET.png (picture and overlay side by
            side), NAME-TARGET-overlay.png, and NAME-TARGET.npy, the map, float32 (h, w) in [0, 1] at the picture's own
            size. Made if needed, and not where the images lie; files of these names are replaced, each whole, if they
            were written by an earlier call.
        targets: Classes to be explained, by name; by default of each image the one that is predicted, and of a
            multi-label model the most probable label.
        method: Name in `medmamba.explain.methods.METHODS`; by default Layer-CAM for our networks, Grad-CAM for others.
        layers: Modules by name, whose maps are averaged; see `medmamba.explain.layers` for those by default.
        colours: `safe` for colour-blind readers, or `paper`, a rainbow.
        frame: Of files with several, in place of what the model was trained with: `first`, `middle`, or a number.
        progress: Called with (images done, images in all).

    Returns:
        A row for each image and target, which `explain.json` holds under `images`: `file`; `class` that is predicted
        and its `probability`; `target` and its `target_probability`; `method`; `layers`; `picture`, `overlay` and
        `map`, files in `out`; `note`, which says so where a map is empty; `error`, why an image could not be read, all
        else but `file` then being None.

    Raises:
        InputError: A class, method, layer or colour is unknown, the model is an exported file, a package is missing, or
            something else is in the place of what would be written.
    """
    pictures.check_colours(colours)
    out = writable_folder(out)
    bundle = classifier.bundle
    if frame == "all":
        raise InputError("one frame of a file is explained at a time; give first, middle or a number")
    reading = bundle.preprocessing.reading if frame is None else replace(bundle.preprocessing.reading, frame=frame)
    chosen = tuple(class_index(bundle, name) for name in targets)
    mapper = HeatMapper(bundle, network_of(classifier), method=method, layers=layers)
    given = [images] if isinstance(images, str | os.PathLike) else images
    found = find_images(given)
    check_apart(out, given, [path for _, path in found])
    check_names(out, [path for _, path in found], [bundle.classes[index] for index in chosen] or bundle.classes)
    make_folder(out)
    job = _Job(classifier, mapper, chosen, colours, reading, out)
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    for done, (name, path) in enumerate(found, start=1):
        rows += _explain(job, name, path, taken)
        if progress is not None:
            progress(done, len(found))
    write_json(out / TABLE, {"note": NOTE, "model": bundle.model, "made": _about(classifier), "images": rows})
    return rows


def class_index(bundle: Bundle, name: str) -> int:
    """Index of a class by its name; `InputError` lists those there are."""
    if name not in bundle.classes:
        there = ", ".join(map(repr, bundle.classes))
        raise InputError(f"there is no class {name!r}{suggest(name, list(bundle.classes))}; the model knows {there}")
    return bundle.classes.index(name)


def predicted(bundle: Bundle, scores: np.ndarray) -> np.ndarray:
    """Index of the class that is answered, (n,), of probabilities (n, classes); of labels, the most probable one."""
    if bundle.task is Task.MULTILABEL:
        return scores.argmax(axis=1)
    return decide(bundle.task, scores, threshold=bundle.threshold, positive=bundle.positive)


def _explain(job: _Job, name: str, path: Path, taken: set[str]) -> list[dict[str, Any]]:
    """The rows of one image."""
    keys = (
        "class",
        "probability",
        "target",
        "target_probability",
        "method",
        "layers",
        "picture",
        "overlay",
        "map",
        "note",
    )
    shape, bundle = job.mapper.bundle.preprocessing, job.mapper.bundle
    try:
        image = read_image(path, job.reading)
        pixels = shape.pixels(image)[None]
    except (InputError, OSError) as reason:
        return [{"file": name, **dict.fromkeys(keys), "error": str(reason)}]
    scores = job.classifier.probabilities(pixels)
    answer = int(predicted(bundle, scores)[0])
    rows = []
    for target in job.targets or (answer,):
        raw = job.mapper.raw(pixels, np.array([target]))
        heat = map_of([layer[0] for layer in raw], shape, image)
        values = (
            bundle.classes[answer],
            float(scores[0, answer]),
            bundle.classes[target],
            float(scores[0, target]),
            job.mapper.method,
            list(job.mapper.layers),
            *_names(path, bundle.classes[target], taken),
            CONSTANT if is_constant(image) else None if heat.any() else EMPTY,
        )
        row = {"file": name, **dict(zip(keys, values, strict=True)), "error": None}
        _write(job, image, heat, row)
        rows.append(row)
    return rows


def _write(job: _Job, image: np.ndarray, heat: np.ndarray, row: dict[str, Any]) -> None:
    array = io.BytesIO()
    np.save(array, heat, allow_pickle=False)
    laid_over = pictures.overlay(image, heat, job.colours)
    words = f"predicted: {row['class']}, probability {row['probability']:.3f}\n"
    words += f"evidence for: {row['target']}"
    words += f", probability {row['target_probability']:.3f}" if row["target"] != row["class"] else ""
    words += f" ({row['method']})" if row["note"] is None else f" ({row['method']}): {row['note']}"
    sheet = pictures.side_by_side(image, laid_over, words, job.colours)
    write_atomically(job.out / row["picture"], pictures.png(sheet))  # first: it tells that the map is ours, too
    write_atomically(job.out / row["overlay"], pictures.png(laid_over))
    write_atomically(job.out / row["map"], array.getvalue())


def _names(path: Path, target: str, taken: set[str]) -> tuple[str, str, str]:
    """Names of the sheet, the overlay and the map of one image, used by no other image of this run."""
    plain = plain_name(path, target)
    stem, number = plain, 1
    while stem.casefold() in taken:
        number += 1
        stem = f"{plain}-{number}"
    taken.add(stem.casefold())
    return f"{stem}{SHEET}", f"{stem}{OVERLAY}", f"{stem}{MAP}"


def _about(classifier: Classifier) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "device": classifier.device,
        "trained_on": (classifier.bundle.provenance.get("data") or {}).get("name"),
    }
