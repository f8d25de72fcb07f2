"""The features of models as a picture (t-SNE), and in figures."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from medmamba.data import Dataset, check_outside
from medmamba.data.dataset import ImageSet
from medmamba.drawing import require_matplotlib
from medmamba.errors import InputError
from medmamba.explain.features import Features, as_npz, check_gives_features, choose, classes_of, compute
from medmamba.explain.scatter import Panel, draw
from medmamba.explain.separation import DEFINITIONS, NEIGHBOURS, interval_method, separation
from medmamba.explain.tsne import PERPLEXITY, arrange, perplexity_for
from medmamba.json_file import write_json
from medmamba.metrics import majority_baseline
from medmamba.predictor.classifier import Classifier
from medmamba.predictor.opening import open_split
from medmamba.predictor.record import ENGINES, about_run, in_spite
from medmamba.tasks import Task
from medmamba.writing import make_folder, writable_folder, write_atomically

logger = logging.getLogger(__name__)

SCHEMA = 1
LIMIT = 2000  # images: t-SNE takes half a minute then, and a picture of more shows no more
NOTICE = "Research software, not a medical device."


def embed(
    classifiers: Mapping[str, Classifier],
    data: Dataset | str | os.PathLike[str],
    split: str = "test",
    *,
    out: str | os.PathLike[str],
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
    limit: int = LIMIT,
    batch_size: int = 64,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Features of one or several models on the same images: one picture, figures, and a `.npz` a model.

    Nothing is done to the features before: t-SNE, silhouette and neighbours all take Euclidean distances between them
    as they are, which is the space that the model's last layer reads.

    Args:
        classifiers: Models from `medmamba.load`, of the same classes, by the names that are to stand in the picture.
        data: What to show, opened with the models' classes; or what `open_data` takes.
        split: Name of the split; `all` takes every image.
        out: Folder for `embedding.png`, `embedding.json` and `features-NAME.npz`; made if needed. Files of these names
            in it are replaced, each whole.
        group_column: The patient column of a table, as in training.
        label_columns: The label columns of a table, as in training.
        allow: Faults of the data to go on in spite of, names of `medmamba.data.faults.FAULTS`.
        limit: Images at most, chosen by the seed so that each class keeps its share; 0 for all.
        batch_size: Images that go through a model at once.
        seed: Of the choice of images, t-SNE and the bootstrap.
        progress: Called with (images done, images in all, what is being done) after each batch.

    Returns:
        What `embedding.json` holds; its keys are explained in docs/how-to/features.md.

    Raises:
        InputError: As `evaluate`; or there are fewer than three images, the models have different classes, a model
            gives no features, or all images have the same. Nothing is written then.
    """
    require_matplotlib("explain")
    out = writable_folder(out)
    check_outside(out, data)
    if not classifiers:
        raise InputError("no model was given; name at least one")
    if limit < 0:
        raise InputError(f"the limit {limit} is no number of images; give {LIMIT}, or 0 for all")
    bundles = [classifier.bundle for classifier in classifiers.values()]
    opened = open_split(data, split, bundles, group_column=group_column, label_columns=label_columns, allow=allow)
    for classifier in classifiers.values():
        check_gives_features(classifier)
    images = opened.images.take(choose(classes_of(bundles[0], opened.images.targets)[0], limit, seed))
    perplexity = perplexity_for(len(images))
    every = _compute_all(classifiers, images, batch_size, progress)
    classes, names = classes_of(bundles[0], images.targets)
    panels = [_panel(features, classes, images, perplexity, seed) for features in every]
    report = {
        "schema": SCHEMA,
        "data": {"name": opened.name, "split": split, "images": len(opened.images), "notes": list(opened.notes)},
        "n": len(images),
        "patients": None if images.groups is None else len(set(images.groups)),
        "classes": [{"name": name, "n": int((classes == k).sum())} for k, name in enumerate(names)],
        "majority_baseline": majority_baseline(classes),
        "tsne": {"perplexity": perplexity, "seed": seed, "init": "pca", "metric": "euclidean", "before": "nothing"},
        "models": [
            {"name": panel.title, "model": bundle.model, "features": features.values.shape[1], **panel.figures}
            for panel, bundle, features in zip(panels, bundles, every, strict=True)
        ],
        "definitions": DEFINITIONS,
        "interval": interval_method(images.groups, seed),
        "images": list(images.names),
        "points": {panel.title: panel.points.tolist() for panel in panels},
        "made": {
            name: about_run(classifier, batch_size, (*ENGINES, "scikit-learn"))
            for name, classifier in classifiers.items()
        },
        "notes": [
            *dict.fromkeys(note for bundle in bundles for note in in_spite(bundle, opened.allowed)),
            *_notes(bundles[0].task, images, len(opened.images), perplexity, seed),
        ],
        "notice": NOTICE,
    }
    picture = draw(panels, classes, names, _footer(report), seed=seed)
    make_folder(out)
    for features, bundle in zip(every, bundles, strict=True):
        write_atomically(out / f"features-{features.model}.npz", as_npz(features, bundle, images, split))
    write_atomically(out / "embedding.png", picture)
    write_json(out / "embedding.json", report)  # last: where it stands, the rest stands too
    return report


def _compute_all(
    classifiers: Mapping[str, Classifier],
    images: ImageSet,
    batch_size: int,
    progress: Callable[[int, int, str], None] | None,
) -> list[Features]:
    every = []
    for place, (name, classifier) in enumerate(classifiers.items()):

        def move(done: int, total: int, place: int = place, name: str = name) -> None:
            if progress is not None:
                progress(place * total + done, len(classifiers) * total, f"features of {name}")

        features = compute(name, classifier, images, batch_size=batch_size, progress=move)
        if (features.values == features.values[0]).all():
            raise InputError(
                f"{name} gives all {len(images)} images the same features, so there is nothing to arrange; look at the "
                "images with medmamba check, or train the model again"
            )
        every.append(features)
    return every


def _panel(features: Features, classes: np.ndarray, images: ImageSet, perplexity: float, seed: int) -> Panel:
    logger.info("arranging the features of %d images by %s", len(images), features.model)
    figures = separation(features.values, classes, images.groups, seed=seed)
    points, divergence = arrange(features.values, perplexity, seed)
    return Panel(features.model, points, figures | {"kl_divergence": divergence})


def _notes(task: Task, images: ImageSet, whole: int, perplexity: float, seed: int) -> list[str]:
    """Sentences that change how the picture and its figures are read."""
    n, sentences = len(images), []
    if n < whole:
        sentences.append(
            f"These are {n:,} of the {whole:,} images of the split, chosen by seed {seed} so that each class keeps its "
            "share; --limit 0 takes all."
        )
    if perplexity < PERPLEXITY:
        sentences.append(
            f"The perplexity is {perplexity:.3g} and not {PERPLEXITY:g}, because there are {n} images only; groups in "
            "pictures of so few may be chance."
        )
    if task is Task.MULTILABEL:
        sentences.append("Images without a label, and those with several labels, are shown and counted as two classes.")
    if images.groups is None:
        sentences.append("Patients are unknown, so the nearest neighbours may be images of the same patient.")
    return sentences


def _footer(report: dict[str, Any]) -> str:
    data, tsne = report["data"], report["tsne"]
    return (
        f"t-SNE of {report['n']:,} images of {data['name']}, split {data['split']}; perplexity "
        f"{tsne['perplexity']:.3g}, seed {tsne['seed']}. Silhouette and {NEIGHBOURS}-NN accuracy are of the features, "
        "not of this picture, in which sizes of groups and distances between them mean little. Always answering the "
        f"commonest class would be right in {report['majority_baseline']:.3f}. {NOTICE}"
    )
