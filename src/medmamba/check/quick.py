"""The part of a check that a training can afford: no image is decoded, and the test split is not opened."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection

import numpy as np

from medmamba.data.dataset import ImageSet
from medmamba.data.faults import settle_fault
from medmamba.data.listing import few

logger = logging.getLogger(__name__)

MEANINGLESS = 0.05  # share of the validation images from which choosing an epoch by them means nothing


def settle_leaks(train: ImageSet, val: ImageSet, allow: Collection[str]) -> list[str]:
    """Warn of validation images that are in the training split too; many of them are the fault `leaked-images`.

    Returns:
        What was allowed, in words.

    Raises:
        InputError: They are more than one in twenty, and that is not allowed.
    """
    leaked = leaked_images(train, val)
    if not leaked:
        return []
    fault = "leaked-images"
    counts = f"{len(leaked)} of {len(val)} validation images are byte for byte in the training split too"
    if len(leaked) > MEANINGLESS * len(val):
        if fault in allow:  # what is kept with the result names no file
            return [settle_fault(fault, counts, allow)]
        settle_fault(fault, f"{counts} ({few(leaked)}); see them all with medmamba check, and take them out", allow)
    logger.warning("data: %s; see them with medmamba check", counts)
    return []


def settle_patients(train: ImageSet, val: ImageSet, allow: Collection[str]) -> list[str]:
    """The fault `patient-overlap` between train and val, for data that no table has been asked about.

    Returns:
        What was allowed, in words.

    Raises:
        InputError: Patients are in both, and that is not allowed.
    """
    both = set(train.groups or ()) & set(val.groups or ())
    if not both:
        return []
    patients = "1 patient has" if len(both) == 1 else f"{len(both)} patients have"
    return [settle_fault("patient-overlap", f"{patients} images in train and in val; put each into one split", allow)]


def leaked_images(train: ImageSet, val: ImageSet) -> list[str]:
    """Names of validation images that are in the training split too, byte for byte."""
    known = set(_digests(train))
    return [
        name for name, digest in zip(val.names, _digests(val), strict=True) if digest is not None and digest in known
    ]


def _digests(images: ImageSet) -> list[bytes | None]:
    """Of each file, or of each row of an array; None for a file that cannot be read, which is found soon enough."""
    if images.files is None:
        pixels = map(images.read, range(len(images)))
        return [hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in pixels]
    digests: list[bytes | None] = []
    for path in images.files:
        try:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            digests.append(None)
    return digests
