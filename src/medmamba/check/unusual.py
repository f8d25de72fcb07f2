"""Pictures that resemble the others once they are inverted or turned. Only sets whose pictures share a layout tell."""

from __future__ import annotations

import numpy as np

SHARED = 0.5  # median resemblance to the mean picture from which a set is taken to share a layout
INVERTED = -0.3
GAIN = 0.4  # of resemblance, by turning
_SAMPLE = 2000


def find_unusual(thumbs: np.ndarray) -> dict[str, list[int]]:
    """Rows that look `inverted` and `turned`, from thumbnails (n, 32, 32)."""
    found: dict[str, list[int]] = {"inverted": [], "turned": []}
    if len(thumbs) < 20:
        return found
    mean = np.median(_standard(thumbs[:: -(-len(thumbs) // _SAMPLE)]), axis=0)
    if np.ptp(mean) == 0:
        return found
    mean = _standard(mean[None])[0]
    blocks = [_likeness(thumbs[start : start + _SAMPLE], mean) for start in range(0, len(thumbs), _SAMPLE)]
    upright, *turns = np.concatenate(blocks, axis=1)
    if np.median(upright) < SHARED:
        return found
    best = np.max(turns, axis=0)
    found["inverted"] = np.flatnonzero((upright <= INVERTED) & (-upright >= best)).tolist()
    turned = (best - upright >= GAIN) & (best >= SHARED)
    found["turned"] = [row for row in np.flatnonzero(turned).tolist() if row not in found["inverted"]]
    return found


def _likeness(thumbs: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Of each picture to the mean one, as it is and turned by one, two and three quarters, (4, n)."""
    pictures = _standard(thumbs)
    return np.stack([np.einsum("nij,ij->n", np.rot90(pictures, k, axes=(1, 2)), mean) for k in range(4)])


def _standard(pictures: np.ndarray) -> np.ndarray:
    """Mean 0 and length 1; flat pictures are all 0."""
    pictures = pictures.astype(np.float32)
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    return centred / np.maximum(np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True)), 1e-9)
