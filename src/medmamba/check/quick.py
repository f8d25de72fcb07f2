"""The part of a check that a training can afford: no image is decoded, and the test split is not opened."""

from __future__ import annotations

import hashlib

import numpy as np

from medmamba.data.dataset import ImageSet

MEANINGLESS = 0.05  # share of the validation images from which choosing an epoch by them means nothing


def leaked_images(train: ImageSet, val: ImageSet) -> list[str]:
    """Names of validation images that are in the training split too, byte for byte."""
    known = set(_digests(train))
    return [
        name for name, digest in zip(val.names, _digests(val), strict=True) if digest is not None and digest in known
    ]


def _digests(images: ImageSet) -> list[bytes | None]:
    """Of each file, or of each row of an array; None for a file that cannot be read, which is found soon enough."""
    if images.files is None:
        assert images.array is not None
        return [hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest() for row in images.array]
    digests: list[bytes | None] = []
    for path in images.files:
        try:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "blake2b").digest())
        except OSError:
            digests.append(None)
    return digests
