"""Pictures that resemble the others once they are inverted or turned. Only sets whose pictures share a layout tell."""

from __future__ import annotations

import numpy as np

SHARED = 0.5  # median resemblance to the mean picture from which a set is taken to share a layout
INVERTED = -0.3
GAIN = 0.4  # of resemblance, by turning


def find_unusual(thumbs: np.ndarray) -> dict[str, list[int]]:
    """Rows that look `inverted` and `turned`, from thumbnails (n, 32, 32)."""
    found: dict[str, list[int]] = {"inverted": [], "turned": []}
    if len(thumbs) < 20:
        return found
    pictures = _standard(thumbs)
    mean = np.median(pictures, axis=0)
    if np.ptp(mean) == 0:
        return found
    mean = _standard(mean[None])[0]
    upright = np.einsum("nij,ij->n", pictures, mean)
    if np.median(upright) < SHARED:
        return found
    turns = [np.einsum("nij,ij->n", np.rot90(pictures, quarters, axes=(1, 2)), mean) for quarters in (1, 2, 3)]
    best = np.max(turns, axis=0)
    found["inverted"] = np.flatnonzero((upright <= INVERTED) & (-upright >= best)).tolist()
    turned = (best - upright >= GAIN) & (best >= SHARED)
    found["turned"] = [row for row in np.flatnonzero(turned).tolist() if row not in found["inverted"]]
    return found


def _standard(pictures: np.ndarray) -> np.ndarray:
    """Mean 0 and length 1; flat pictures are all 0."""
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    return centred / np.maximum(np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True)), 1e-9)
