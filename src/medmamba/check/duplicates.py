"""Pictures that are the same: pixel for pixel, or after compression, resizing, flipping or turning.

A picture is described twice on a 16 x 16 grid: by the signs of the brightness differences between neighbouring cells, 0
where two cells hardly differ; and by the cells less their surroundings, without what all pictures of the set share
(their mean and leading principal components: the disc of every fundus, the ribs of every chest film). Two pictures are
near duplicates if both agree, by cosine, in one of the eight poses of a square. Comparing all pairs is a product of
matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

GRID = 16
FLAT = 1.0  # grey levels by which two cells must differ to count
LEAST = 40  # differences that must count, of 480: flat pictures all resemble each other
# chosen on ultrasound, dermoscopy, blood cells, chest films and fundi, with changed copies of them
SIGNS_AGREE = 0.70
DETAILS_AGREE = 0.85
SHARED = 8  # principal components; fewer in sets so small that a component could be one picture's own
OF_EACH = 25  # pictures a component must be shared by
_SAMPLE = 2000
_BLOCK = 1024
_PAIRS = 65_536  # whose details are compared at once


@dataclass(frozen=True)
class Group:
    """Pictures that are the same.

    Attributes:
        rows: Their rows, two or more, ascending.
        exact: Whether all are equal pixel for pixel.
    """

    rows: tuple[int, ...]
    exact: bool


def find_duplicates(
    digests: list[bytes], thumbs: np.ndarray, *, progress: Callable[[int, int], None] | None = None
) -> list[Group]:
    """Groups of equal and nearly equal pictures, by first row; what resembles a member belongs to the group.

    Args:
        digests: Of the pixels of each.
        thumbs: Grey, uint8 (n, 32, 32).
        progress: Called with (blocks compared, blocks in all).
    """
    if not digests:
        return []
    parent = np.arange(len(digests))
    first: dict[bytes, int] = {}
    for row, digest in enumerate(digests):
        _join(parent, row, first.setdefault(digest, row))
    one_of_each = np.array(sorted(first.values()), dtype=np.int64)
    for a, b in near_pairs(thumbs[one_of_each], progress):
        _join(parent, int(one_of_each[a]), int(one_of_each[b]))
    roots = np.array([_root(parent, row) for row in range(len(parent))])
    order = np.argsort(roots, kind="stable")
    cuts = np.flatnonzero(np.diff(roots[order])) + 1
    groups = [tuple(sorted(part.tolist())) for part in np.split(order, cuts) if len(part) > 1]
    return [Group(rows, exact=len({digests[row] for row in rows}) == 1) for rows in sorted(groups)]


def joined_units(patients: Sequence[str] | None, groups: Sequence[Group], n: int) -> np.ndarray:
    """What must stay together, (n,): the pictures of a patient, and copies, also where these join patients."""
    parent = np.arange(n)
    first: dict[str, int] = {}
    for row, patient in enumerate(patients or ()):
        _join(parent, row, first.setdefault(patient, row))
    for group in groups:
        for row in group.rows[1:]:
            _join(parent, group.rows[0], row)
    return np.array([_root(parent, row) for row in range(n)], dtype=np.int64)


def near_pairs(thumbs: np.ndarray, progress: Callable[[int, int], None] | None = None) -> Iterator[tuple[int, int]]:
    """Pairs of rows, the first less than the second, whose pictures (n, 32, 32) are nearly the same in some pose."""
    signs = signs_of(thumbs)
    enough = np.flatnonzero(np.abs(signs).sum(axis=1) >= LEAST)
    signs = _unit(signs[enough])
    shared = shared_by_all(thumbs[enough])
    details = own_details(thumbs[enough], *shared)
    starts = range(0, len(enough), _BLOCK)
    for done, start in enumerate(starts, 1):
        for posed in poses(thumbs[enough[start : start + _BLOCK]]):
            near_a, near_b = np.nonzero(_unit(signs_of(posed)) @ signs[start:].T >= SIGNS_AGREE)
            later = near_b > near_a  # each pair once
            near_a, near_b = near_a[later], near_b[later]
            posed_details = own_details(posed, *shared)
            for part in range(0, len(near_a), _PAIRS):
                a, b = near_a[part : part + _PAIRS], near_b[part : part + _PAIRS]
                same = np.einsum("nd,nd->n", posed_details[a], details[start + b]) >= DETAILS_AGREE
                for i, j in zip(a[same], b[same], strict=True):
                    yield int(enough[start + i]), int(enough[start + j])
        if progress is not None:
            progress(done, len(starts))


def poses(thumbs: np.ndarray) -> Iterator[np.ndarray]:
    """The pictures (n, s, s) in the eight poses of a square: turned by quarters, and flipped."""
    for flipped in (thumbs, thumbs[:, :, ::-1]):
        for quarters in range(4):
            yield np.ascontiguousarray(np.rot90(flipped, quarters, axes=(1, 2)))


def signs_of(thumbs: np.ndarray) -> np.ndarray:
    """Signs of the differences between neighbouring cells, -1, 0 or 1: (n, 32, 32) to float32 (n, 480)."""
    n, cells = len(thumbs), cells_of(thumbs)
    across, down = np.diff(cells, axis=2), np.diff(cells, axis=1)
    steps = np.concatenate([across.reshape(n, -1), down.reshape(n, -1)], axis=1)
    return np.where(np.abs(steps) >= FLAT, np.sign(steps), 0).astype(np.float32)


def details_of(thumbs: np.ndarray) -> np.ndarray:
    """The cells less their mean over 5 x 5 cells: (n, 32, 32) to float32 (n, 256)."""
    cells = cells_of(thumbs)
    padded = np.pad(cells, ((0, 0), (2, 2), (2, 2)), mode="edge")
    rows = np.sum([padded[:, i : i + GRID] for i in range(5)], axis=0)
    around = np.sum([rows[:, :, i : i + GRID] for i in range(5)], axis=0)
    return (cells - around / 25).reshape(len(cells), GRID * GRID)


def own_details(thumbs: np.ndarray, mean: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Details without what all pictures share, of length 1: float32 (n, 256)."""
    details = details_of(thumbs) - mean
    return _unit(details - (details @ components.T) @ components)


def shared_by_all(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (256,) and leading principal components (up to 8, 256) of the details in all poses."""
    some = thumbs[:: -(-len(thumbs) // _SAMPLE) or 1]
    count = min(SHARED, len(some) // OF_EACH)
    if count == 0:
        return np.zeros(GRID * GRID, np.float32), np.zeros((0, GRID * GRID), np.float32)
    details = np.concatenate([details_of(posed) for posed in poses(some)])
    mean = details.mean(axis=0)
    _, vectors = np.linalg.eigh((details - mean).T @ (details - mean))  # ascending
    return mean, np.ascontiguousarray(vectors[:, -count:].T)


def cells_of(thumbs: np.ndarray) -> np.ndarray:
    """Mean grey levels on the grid: (n, 32, 32) to float32 (n, 16, 16)."""
    cell = thumbs.shape[1] // GRID
    return thumbs.reshape(len(thumbs), GRID, cell, GRID, cell).mean(axis=(2, 4), dtype=np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of zeros stay."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def _root(parent: np.ndarray, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row


def _join(parent: np.ndarray, a: int, b: int) -> None:
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)
