"""Which layer a heat map is made from, and how its output is laid out as a map."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

import torch
from torch import Tensor, nn

from medmamba.errors import InputError, suggest
from medmamba.network import Ensemble, MedMamba

# Ours, by what pointed into the lesions of phantoms with networks of several trainings, which differ much in this
# (benchmarks/results/heat-maps.json). A mean over the stages is steadier than any of them. Layer-CAM weighs every place
# by itself, so that it can take the first stages, whose maps are fine; Grad-CAM's weights, means over the map, say too
# little there. Where the network sees small pictures the later stages have too few cells.
SMALL = 112  # pixels, the shorter side
OURS = ("layercam", ("stages.0", "stages.1", "stages.2", "stages.3"))
OURS_SMALL = ("layercam", ("stages.0",))
CELLS = 7  # a side, of the map that is chosen in other networks: that of the last stage of most at 224 pixels
_FORM = 0.25  # log of the ratio between a map's form and the picture's, from which it is none of it


class MapLayout:
    """Turns outputs of a network's layers into maps (b, c, h, w).

    Args:
        model: The network. Its `output_fmt` decides where a shape does not tell, its `num_prefix_tokens` how many
            tokens stand before those of the map.
        size: Height and width of its input.
    """

    def __init__(self, model: nn.Module, size: tuple[int, int]) -> None:
        self.size = size
        self.channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        self.prefix = int(getattr(model, "num_prefix_tokens", 0))

    def __call__(self, x: Tensor) -> Tensor:
        """A map (b, c, h, w) of (b, c, h, w), (b, h, w, c) or tokens (b, l, c); `ValueError` if it is none of them."""
        made = self.find(x)
        if made is None:
            raise ValueError(f"{tuple(x.shape)} is no map of an image of {self.size[0]} x {self.size[1]}")
        return made

    def find(self, x: object) -> Tensor | None:
        """The same, None if it is no map of more than one cell."""
        if not isinstance(x, Tensor):
            return None
        if x.ndim == 3:
            return self._of_tokens(x)
        if x.ndim != 4:
            return None
        first, last = self._unlike(*x.shape[2:]), self._unlike(*x.shape[1:3])
        if min(first, last) > _FORM:
            return None
        channels_last = last < first or (last == first and self.channels_last)
        # a copy, because a later layer may work in place
        return (x.permute(0, 3, 1, 2) if channels_last else x).clone(memory_format=torch.contiguous_format)

    def _of_tokens(self, x: Tensor) -> Tensor | None:
        height, width = self.size
        cells = x.shape[1] - self.prefix
        rows = round((max(cells, 1) * height / width) ** 0.5)
        if cells % max(rows, 1) or self._unlike(rows, cells // max(rows, 1)) > _FORM:
            return None
        return x[:, self.prefix :].unflatten(1, (rows, -1)).permute(0, 3, 1, 2).clone()

    def _unlike(self, height: int, width: int) -> float:
        """How far the form of a map is from that of the picture; infinite where it cannot be a map of it."""
        if height * width < 2 or height > self.size[0] or width > self.size[1]:
            return float("inf")
        return abs(log(height / width) - log(self.size[0] / self.size[1]))


def networks_of(model: nn.Module) -> dict[str, nn.Module]:
    """The networks of an ensemble, by what the names of their modules begin with; a network alone by nothing."""
    if not isinstance(model, Ensemble):
        return {"": model}
    return {f"members.{number}.": network for number, network in enumerate(model.members)}


def find_layers(model: nn.Module, channels: int, size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
    """Every layer whose output is a map on which the answer depends: name to (channels, rows, columns), as they run.

    The network runs once on noise. A layer that runs more than once has its last map here.
    """
    layout = MapLayout(model, size)
    place = next(model.parameters()).device
    image = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0)).to(place).requires_grad_()
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.requires_grad and layout.find(output) is not None:
                outputs.pop(name, None)
                outputs[name] = output

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    try:
        with torch.enable_grad():
            logits = model(image)
            gradients = torch.autograd.grad(logits[0].square().sum(), list(outputs.values()), allow_unused=True)
    finally:
        for handle in hooks:
            handle.remove()
    found = {}
    for (name, output), gradient in zip(outputs.items(), gradients, strict=True):
        # a class token's last layer gets all of the gradient, and the map none
        if gradient is not None and bool(layout(gradient).any()):
            _, maps, rows, columns = layout(output).shape
            found[name] = (maps, rows, columns)
    return found


def default_layers(
    model: nn.Module, found: Mapping[str, tuple[int, int, int]], size: tuple[int, int]
) -> tuple[str, tuple[str, ...]]:
    """Method and layers for a network whose maps are `found`.

    Ours: the constants above. Others: Grad-CAM on the last of the layers that timm names for features whose map has
    `CELLS` cells a side, or, where none has, on the one with the most cells.
    """
    if isinstance(model, MedMamba) and all(name in found for name in OURS[1]):
        return OURS_SMALL if min(size) < SMALL else OURS
    stages = [entry["module"] for entry in getattr(model, "feature_info", []) if entry["module"] in found]
    names = stages or list(found)
    if not names:
        raise InputError("no layer of this network has a map as its output, so it has no heat maps")
    large = [name for name in names if min(found[name][1:]) >= CELLS]
    return "gradcam", (large[-1] if large else max(names, key=lambda name: found[name][1] * found[name][2]),)


def check_layer(name: str, found: Mapping[str, tuple[int, int, int]]) -> None:
    """Refuse a layer that is not there or has no map."""
    if name not in found:
        raise InputError(
            f"there is no layer {name!r} with a map{suggest(name, list(found))}; "
            f"--list-layers names the {len(found)} there are"
        )
