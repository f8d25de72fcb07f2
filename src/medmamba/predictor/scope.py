"""Is this picture of the kind that a model was trained on? Distances from the training images, without torch.

Two distances are taken, because each sees what the other does not: in the network's features, from the nearest class
(Mahalanobis; Lee et al. 2018), and in simple statistics of the picture, which a network may have learnt to ignore.
`medmamba.calibration` fits them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from medmamba.errors import InputError

BINS = 16  # of the histogram of grey levels
LOOKS = 12  # statistics of a picture


@dataclass(frozen=True, eq=False)
class Kind:
    """The training images, as far as distances from them need it; all float32.

    Attributes:
        features: Whitened mean features of each class, (classes, d).
        whitening: Of features, (d, d).
        looks: Whitened mean statistics, (1, s).
        looks_whitening: Of statistics, (s, s).
        limits: Largest squared distances of a picture of this kind, in features and in statistics, (2,).
    """

    features: np.ndarray
    whitening: np.ndarray
    looks: np.ndarray
    looks_whitening: np.ndarray
    limits: np.ndarray

    def distances(self, features: np.ndarray, looks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances from the training images, in features (n, d) and in `looks` (n, s): (n,) each."""
        return _nearest(features @ self.whitening, self.features), _nearest(looks @ self.looks_whitening, self.looks)

    def strangeness(self, features: np.ndarray, looks: np.ndarray) -> np.ndarray:
        """Each distance by its limit, the larger of the two, (n,); above 1 for a picture of another kind."""
        distances = np.stack(self.distances(features, looks), axis=1)
        return (distances / self.limits).max(axis=1)

    def pack(self) -> bytes:
        """The content of a bundle's `scope.safetensors`."""
        from safetensors.numpy import save

        content: bytes = save(asdict(self))
        return content

    @classmethod
    def read(cls, path: Path) -> Kind:
        """Read it from a file.

        Raises:
            InputError: The file is damaged, or does not hold these arrays.
        """
        from safetensors import SafetensorError, safe_open

        names = {entry.name for entry in fields(cls)}
        try:
            with safe_open(path, framework="numpy") as file:
                if names != set(file.keys()):
                    raise InputError(f"{path} does not hold {', '.join(sorted(names))}; calibrate again")
                kind = cls(**{name: file.get_tensor(name) for name in names})
        except (SafetensorError, OSError, AttributeError) as reason:  # the last for a type that numpy has not
            raise InputError(f"{path} is damaged ({reason}); copy it again or calibrate again") from None
        if fault := kind._fault():
            raise InputError(f"{path} cannot be used: {fault}; copy it again or calibrate again")
        return kind

    def _fault(self) -> str | None:
        """What is wrong with the arrays, if anything is."""
        arrays: dict[str, np.ndarray] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        classes, d = (*self.features.shape, 0, 0)[:2]
        square = {"whitening": (d, d), "looks_whitening": (LOOKS, LOOKS)}
        shapes = {"features": (classes, d), "looks": (1, LOOKS), "limits": (2,), **square}
        for name, array in arrays.items():
            if array.dtype != np.float32 or array.shape != shapes[name] or not array.size:
                return f"{name} is {array.dtype} {array.shape}"
            if not np.isfinite(array).all():
                return f"{name} holds numbers that are not finite"
        return None if (self.limits > 0).all() else "a limit is not above 0"


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distance of each point (n, d) from the nearest of the centres (k, d), (n,)."""
    return np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres]).min(axis=0)


def looks_of(pixels: np.ndarray) -> np.ndarray:
    """Simple statistics of pictures, (n, 12) float64: brightness, contrast, extremes, edges, colour and histogram.

    Args:
        pixels: As `Preprocessing.pixels` gives them, uint8 (n, c, h, w).
    """
    return np.stack([_looks(picture.astype(np.float32) / 255) for picture in pixels])


def _looks(picture: np.ndarray) -> np.ndarray:
    grey = picture.mean(axis=0)
    height, width = grey.shape
    coarse = grey[: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    middle = grey[height // 4 : height - height // 4, width // 4 : width - width // 4]
    shares = np.histogram(grey, bins=BINS, range=(0, 1))[0] / grey.size
    colour = picture - grey
    down, across = (np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1))
    smooth = np.mean([np.abs(np.diff(coarse, axis=axis)).mean() for axis in (0, 1)])
    return np.array(
        [
            grey.mean(),
            grey.std(),
            np.median(grey) - grey.mean(),
            (grey <= 2 / 255).mean(),
            (grey >= 253 / 255).mean(),
            down,
            across,
            smooth / (down + across + 1e-3),  # what of the edges is left in half the size: little for noise
            middle.mean() - grey.mean(),
            np.abs(colour).mean(),
            colour.std(),
            -(shares * np.log(shares + 1e-9)).sum(),
        ]
    )
