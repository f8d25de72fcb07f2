"""Heat maps of a network: from pixels and classes to maps in [0, 1] of any size."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba.bundle import Bundle
from medmamba.device import WHOLE_FLOAT32
from medmamba.errors import InputError
from medmamba.explain.layers import MapLayout, check_layer, default_layers, find_layers, networks_of
from medmamba.explain.methods import check_method, raw_cam, require_grad_cam

if TYPE_CHECKING:
    from medmamba.data import Preprocessing
    from medmamba.predictor import Classifier

BATCH = 8  # pictures at once, which keep the activations of all layers
FLAT = 1e-5  # of a map's greatest value: a smaller range is rounding, not evidence


class HeatMapper:
    """Makes heat maps with one method on one network; of an ensemble, on each of its networks.

    Attributes:
        bundle: What the network is.
        model: The network.
        methods: Names in `METHODS`; one, but where by default the networks of an ensemble have others.
        layers: Names of the modules whose maps are averaged.
        found: Every layer that could be taken, with (channels, rows, columns) of its map.
    """

    def __init__(
        self, bundle: Bundle, model: nn.Module, *, method: str | None = None, layers: Sequence[str] = ()
    ) -> None:
        """Choose method and layers by default where none are given; `InputError` names those there are."""
        require_grad_cam()
        if method is not None:
            check_method(method)
        shape = bundle.preprocessing
        self.bundle, self.model, self.size = bundle, model, (shape.height, shape.width)
        self.found: dict[str, tuple[int, int, int]] = {}
        self._method: dict[str, str] = {}  # of each network, by the start of its modules' names
        chosen: list[str] = []
        for start, network in networks_of(model).items():
            with _frozen(network):
                found = find_layers(network, shape.channels, self.size)
            self.found |= {start + name: map_ for name, map_ in found.items()}
            by_default = default_layers(network, found, self.size)
            self._method[start] = method or by_default[0]
            chosen += [start + name for name in by_default[1]]
        for name in layers:
            check_layer(name, self.found)
        self.layers = tuple(layers) or tuple(chosen)

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._method.values()))

    @property
    def method(self) -> str:
        """The methods' names."""
        return " and ".join(self.methods)

    def on(self, model: nn.Module) -> HeatMapper:
        """The same of a network that differs in nothing but its weights."""
        other = copy.copy(self)
        other.model = model
        return other

    def raw(self, pixels: np.ndarray, targets: np.ndarray) -> list[np.ndarray]:
        """The method's maps as they are computed.

        Args:
            pixels: As `Preprocessing.pixels` gives them, uint8 (b, c, height, width).
            targets: Index of the class to be explained of each, (b,).

        Returns:
            For each layer (b, rows, columns), in no unit; what speaks against the class is negative. Where an ensemble
            is asked of mirrored pictures, the maps of these too, mirrored back.
        """
        maps = []
        for start, network in networks_of(self.model).items():
            names = [name.removeprefix(start) for name in self.layers if name.startswith(start)]
            if names:
                maps += self._raw(network, self._method[start], names, pixels, targets)
            if names and self.bundle.mirror:
                turned = self._raw(network, self._method[start], names, pixels[..., ::-1], targets)
                maps += [layer[..., ::-1] for layer in turned]
        return maps

    def _raw(
        self, network: nn.Module, method: str, layers: Sequence[str], pixels: np.ndarray, targets: np.ndarray
    ) -> list[np.ndarray]:
        """Of one network."""
        modules = dict(network.named_modules())
        device = next(network.parameters()).device
        layout = MapLayout(network, self.size)
        parts: list[list[np.ndarray]] = []
        with _frozen(network), torch.inference_mode(False), torch.enable_grad(), WHOLE_FLOAT32:
            chosen = [modules[name] for name in layers]
            with raw_cam(check_method(method))(network, chosen, layout) as cam:
                for start in range(0, len(pixels), BATCH):
                    image = torch.from_numpy(np.ascontiguousarray(pixels[start : start + BATCH])).to(device)
                    image = self.bundle.preprocessing.normalise(image).requires_grad_()
                    parts.append(cam(image, [_logit(int(k)) for k in targets[start : start + BATCH]]))
        # what some methods divide by may be zero: no number is no evidence
        return [np.nan_to_num(np.concatenate(layer), posinf=0.0, neginf=0.0) for layer in zip(*parts, strict=True)]

    def maps(self, pixels: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Maps at the size of the network's input, float32 (b, height, width) in [0, 1]; see `merge`."""
        raw = self.raw(pixels, targets)
        return np.stack([merge([layer[row] for layer in raw], self.size) for row in range(len(pixels))])


def merge(
    layers: Sequence[np.ndarray],
    size: tuple[int, int],
    box: tuple[int, int, int, int] | None = None,
    picture: tuple[int, int] | None = None,
) -> np.ndarray:
    """One map in [0, 1] of the raw maps of one or more layers.

    What speaks against the class is set to 0 and each map enlarged; the mean of the maps, each from its least value (0)
    to its greatest (1), is stretched in the same way. A flat map says nothing of any place and is all zeros.

    Args:
        layers: Each (rows, columns).
        size: (height, width) of the network's input.
        box: Where the picture lies in it, (top, left, height, width), to cut padding away; by default everywhere.
        picture: (height, width) of the result; by default that of the box.

    Returns:
        float32.
    """
    top, left, height, width = box or (0, 0, *size)

    def enlarge(layer: np.ndarray) -> np.ndarray:
        whole = _resize(np.maximum(layer, 0), size)[top : top + height, left : left + width]
        return stretch(_resize(whole, picture) if picture else whole)

    return stretch(np.mean([enlarge(layer) for layer in layers], axis=0))


def map_of(
    raw: Sequence[np.ndarray], preprocessing: Preprocessing, image: np.ndarray, picture: tuple[int, int] | None = None
) -> np.ndarray:
    """The map of one image, float32 in [0, 1]; all zeros for a picture of one value, which shows no place.

    Args:
        raw: Of each layer (rows, columns), as `HeatMapper.raw` gives them for this image.
        preprocessing: How the image reached the network.
        image: uint8, (h, w) or (h, w, 3).
        picture: (height, width) of the result; by default that of the image.
    """
    picture = picture or image.shape[:2]
    if is_constant(image):
        return np.zeros(picture, np.float32)
    size = (preprocessing.height, preprocessing.width)
    return merge(raw, size, preprocessing.box(*image.shape[:2]), picture)


def is_constant(image: np.ndarray) -> bool:
    """Whether every pixel of (h, w) or (h, w, 3) has the same value."""
    return bool((image == image[:1, :1]).all())


def stretch(values: np.ndarray) -> np.ndarray:
    """From the least value (0) to the greatest (1), float32; all zeros where they are the same but for rounding."""
    values = np.asarray(values, dtype=np.float64)
    least, greatest = values.min(), values.max()
    if greatest - least <= FLAT * abs(greatest):
        return np.zeros(values.shape, np.float32)
    return ((values - least) / (greatest - least)).astype(np.float32)


def network_of(classifier: Classifier) -> nn.Module:
    """The network of a classifier; `InputError` where it is an exported file, which has no gradients."""
    model = getattr(classifier, "model", None)
    if not isinstance(model, nn.Module):
        raise InputError("an exported file has no gradients to explain it by; give the folder that train wrote")
    return model


def _resize(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    whole = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    return F.interpolate(whole, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()


def _logit(index: int) -> Callable[[Tensor], Tensor]:
    return lambda logits: logits[index]


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No gradients for the parameters: they are not asked for, and cost time and memory."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
