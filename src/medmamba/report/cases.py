"""The cases from which most is learnt: errors that the model was sure of, right answers that it was not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medmamba.bundle import Bundle
from medmamba.data.dataset import ImageSet
from medmamba.errors import InputError
from medmamba.page import jpeg_address, text, thumbnail
from medmamba.tasks import Task, decide

if TYPE_CHECKING:
    from medmamba.predictor import Classifier

SHOWN = 8  # of each kind
HEIGHT = 150  # of a picture, pixels
NAMED = 3  # labels of an image in its caption


@dataclass(frozen=True)
class Case:
    """One image as it is shown; all words are plain text.

    Attributes:
        file: Its name.
        truth: Its class, or its labels.
        answer: The same of the model, with probabilities.
        picture: Small, uint8; None where it could not be read again.
        heat: The same with the heat map laid over it, or None.
        empty: Whether that map is empty: no place spoke for the answer.
    """

    file: str
    truth: str
    answer: str
    picture: np.ndarray | None
    heat: np.ndarray | None
    empty: bool = False


@dataclass(frozen=True)
class Cases:
    """The hardest of all.

    Attributes:
        errors: Wrong answers, the surest first.
        unsure: Right answers, the least sure first.
        wrong: How many answers are wrong in all.
        method: Which heat maps they are, in words; empty without them.
        no_maps: Why there are no heat maps, or None.
    """

    errors: list[Case]
    unsure: list[Case]
    wrong: int
    method: str
    no_maps: str | None


def hardest_cases(classifier: Classifier, images: ImageSet, scores: np.ndarray) -> Cases:
    """Find and draw them.

    Args:
        classifier: The model.
        images: What it was asked about.
        scores: Its probabilities, (n, classes).
    """
    bundle = classifier.bundle
    right, sure = sureness(bundle, scores, images.targets)
    wrong, good = np.flatnonzero(~right), np.flatnonzero(right)
    errors = wrong[np.argsort(-sure[wrong], kind="stable")][:SHOWN]
    unsure = good[np.argsort(sure[good], kind="stable")][:SHOWN]
    rows = [*errors.tolist(), *unsure.tolist()]
    pixels = {row: _read(bundle, images, row) for row in rows}
    there = {row: image for row, image in pixels.items() if image is not None}
    maps, method, reason = _heat_maps(classifier, there, scores)
    cases = []
    for row in rows:
        image, words = pixels[row], _words(bundle, scores[row], images.targets[row])
        picture = None if image is None else thumbnail(image, HEIGHT)
        heat, empty = maps.get(row, (None, False))
        cases.append(Case(images.names[row], *words, picture, heat, empty))
    return Cases(cases[: len(errors)], cases[len(errors) :], len(wrong), method, reason)


def sureness(bundle: Bundle, scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each answer is right, and how sure it is, both (n,).

    Sureness is the probability of the answer; where a threshold decides, the distance from it as a share of what is
    possible on that side. With several labels an image is right if all of them are, and as sure as its surest wrong
    label, or if it has none, as its least sure label.
    """
    decided = decide(bundle.task, scores, threshold=bundle.threshold, positive=bundle.positive)
    if bundle.task not in (Task.BINARY, Task.MULTILABEL):
        return decided == targets, scores.max(axis=1)
    threshold = np.asarray(bundle.threshold)
    said = scores if bundle.task is Task.MULTILABEL else scores[:, [bundle.positive]]
    whole = np.where(said >= threshold, 1 - threshold, threshold)
    far = np.divide(np.abs(said - threshold), whole, out=np.zeros(said.shape), where=whole > 0)
    if bundle.task is Task.BINARY:
        return decided == targets, far[:, 0]
    hit = decided == targets
    surest_wrong = np.where(hit, -1.0, far).max(axis=1)
    return hit.all(axis=1), np.where(hit.all(axis=1), far.min(axis=1), surest_wrong)


def pictures(cases: list[Case]) -> str:
    """The cases as HTML."""
    return f'<div class="cases">{"".join(map(_figure, cases))}</div>'


def _figure(case: Case) -> str:
    shown = [picture for picture in (case.picture, case.heat) if picture is not None]
    images = "".join(f'<img alt="" src="{jpeg_address(picture)}">' for picture in shown)
    words = f"<b>{text(case.truth)}</b><br>answered: {text(case.answer)}<br>{text(case.file)}"
    words += "<br>empty heat map: no place spoke for the answer" * case.empty
    return f'<figure class="case"><div>{images}</div><figcaption>true: {words}</figcaption></figure>'


def _words(bundle: Bundle, scores: np.ndarray, target: np.ndarray) -> tuple[str, str]:
    """The truth and the answer."""
    decided = decide(bundle.task, scores[None], threshold=bundle.threshold, positive=bundle.positive)[0]
    if bundle.task is not Task.MULTILABEL:
        return bundle.classes[int(target)], f"{bundle.classes[int(decided)]}, {_probability(scores[int(decided)])}"
    missed = [
        f"{bundle.classes[k]} missed, {_probability(scores[k])}" for k in np.flatnonzero((target == 1) & (decided == 0))
    ]
    given = [f"{bundle.classes[k]}, {_probability(scores[k])}" for k in np.flatnonzero(decided)]
    return _short([bundle.classes[k] for k in np.flatnonzero(target)]), _short(given + missed)


def _probability(value: float) -> str:
    """Two digits, as many as the probability of one image bears; never a certainty."""
    return "under 0.01" if value < 0.005 else "over 0.99" if value > 0.995 else f"{value:.2f}"


def _short(words: list[str]) -> str:
    if not words:
        return "none of the labels"
    more = f"; and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return "; ".join(words[:NAMED]) + more


def _read(bundle: Bundle, images: ImageSet, row: int) -> np.ndarray | None:
    try:
        return images.read(row, bundle.preprocessing.reading, tell=False)
    except (InputError, OSError):  # gone since it was scored
        return None


def _heat_maps(
    classifier: Classifier, pixels: dict[int, np.ndarray], scores: np.ndarray
) -> tuple[dict[int, tuple[np.ndarray, bool]], str, str | None]:
    """Small pictures with the heat map of the answer laid over them, and whether it is empty, by row.

    Beside them the method in words, and why there are none.
    """
    from medmamba.explain.maps import HeatMapper, merge, network_of
    from medmamba.explain.methods import METHODS
    from medmamba.explain.pictures import check_colours, overlay
    from medmamba.explain.run import predicted

    bundle, shape = classifier.bundle, classifier.bundle.preprocessing
    colours = "safe"
    if not pixels:
        return {}, "", None
    try:
        check_colours(colours)
        mapper = HeatMapper(bundle, network_of(classifier))
    except InputError as reason:
        return {}, "", str(reason)
    rows = list(pixels)
    inputs = np.stack([shape.pixels(pixels[row]) for row in rows])
    layers = mapper.raw(inputs, predicted(bundle, scores[rows]))
    drawn = {}
    for place, row in enumerate(rows):
        small = thumbnail(pixels[row], HEIGHT)
        box = shape.box(*pixels[row].shape[:2])
        heat = merge([layer[place] for layer in layers], mapper.size, box, small.shape[:2])
        drawn[row] = overlay(small, heat, colours), not heat.any()
    told = "; ".join(f"{METHODS[name].made_by}, {METHODS[name].about}" for name in mapper.methods)
    return drawn, told, None
