"""Pictures as PNG files: what the model read, and the heat map to be laid over it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from PIL import Image

from medmamba.data.preprocessing import Preprocessing
from medmamba.predictor import Classifier

COLOURS = "safe"  # of heat maps, for colour-blind readers too
LONGEST = 2048  # pixels of a side of what is shown: of larger pictures maps are enlarged, and they are shrunk


def can_explain(classifier: Classifier) -> bool:
    """Whether there are heat maps: of a network, not an exported file, with the extra `explain`."""
    return hasattr(classifier, "model") and all(find_spec(name) for name in ("pytorch_grad_cam", "matplotlib"))


def require_maps() -> None:
    """Load what heat maps need, which takes seconds; `InputError` says what is not installed."""
    import medmamba.explain.run  # noqa: F401
    from medmamba.explain.methods import require_grad_cam
    from medmamba.explain.pictures import check_colours

    check_colours(COLOURS)
    require_grad_cam()


def picture_png(picture: np.ndarray) -> bytes:
    """A picture, uint8 (h, w) or (h, w, 3), shrunk to `LONGEST` pixels a side where it has more."""
    height, width = _shown(*picture.shape[:2])
    return _png(picture, (width, height))


def map_png(raw: Sequence[np.ndarray], preprocessing: Preprocessing, picture: np.ndarray) -> bytes:
    """The heat map of a picture, of its size, clear where the map is low.

    Args:
        raw: Of each layer (rows, columns), as `HeatMapper.raw` gives them for this picture.
        preprocessing: How the picture reached the network.
        picture: uint8, (h, w) or (h, w, 3).
    """
    from medmamba.explain.maps import map_of
    from medmamba.explain.pictures import layer

    height, width = picture.shape[:2]
    heat = map_of(raw, preprocessing, picture, _shown(height, width))
    return _png(layer(heat, COLOURS), (width, height))


def _shown(height: int, width: int) -> tuple[int, int]:
    """Height and width, in the same ratio, of at most `LONGEST` pixels."""
    scale = min(1.0, LONGEST / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _png(pixels: np.ndarray, size: tuple[int, int]) -> bytes:
    """As a PNG file of (width, height), quickly rather than small."""
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
