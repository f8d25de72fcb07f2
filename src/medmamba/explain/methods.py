"""The CAMs of the package `grad-cam` that need nothing but a network and its layers, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medmamba.errors import InputError, suggest


@dataclass(frozen=True)
class Method:
    """One way to make a map.

    Attributes:
        made_by: Class in `pytorch_grad_cam`.
        about: What it is, in a few words.
        gradients: Whether it needs those of the class; where not, the map is the same for every class, but for
            Score-CAM, which asks the network once a channel instead.
    """

    made_by: str
    about: str
    gradients: bool = True


# not here: Ablation-CAM needs a layer of its own for each kind of network and sets channels to -1e7, which LayerNorm
# does not stand; Shapley-CAM needs second derivatives; FullGrad needs convolutions alone; Finer-CAM compares classes
METHODS = {
    "gradcam": Method("GradCAM", "channels weighted by their mean gradient (Selvaraju et al. 2017)"),
    "layercam": Method("LayerCAM", "every place by its own positive gradient (Jiang et al. 2021)"),
    "gradcam++": Method("GradCAMPlusPlus", "gradients weighted by their higher orders (Chattopadhay et al. 2018)"),
    "xgradcam": Method("XGradCAM", "gradients weighted by the activations (Fu et al. 2020)"),
    "hirescam": Method("HiResCAM", "gradient times activation, place by place (Draelos and Carin 2020)"),
    "elementwise": Method("GradCAMElementWise", "as hirescam, the positive products alone"),
    "eigengradcam": Method("EigenGradCAM", "first principal component of gradient times activation"),
    "eigencam": Method("EigenCAM", "first principal component of the activations, whatever the class", False),
    "kpcacam": Method("KPCA_CAM", "the same with a kernel, whatever the class", False),
    "fem": Method("FEM", "rare strong activations, whatever the class", False),
    "scorecam": Method("ScoreCAM", "slow: one run of the network a channel (Wang et al. 2020)", False),
}


def require_grad_cam() -> None:
    """Raise `InputError` with what to install where the package is missing."""
    try:
        import pytorch_grad_cam  # noqa: F401
    except ImportError as reason:
        raise InputError(f"heat maps need grad-cam: pip install 'medmamba[explain]' ({reason})") from None


def check_method(name: str) -> Method:
    """The method of a name; `InputError` lists those there are."""
    if name not in METHODS:
        raise InputError(
            f"there is no method {name!r}{suggest(name, list(METHODS))}; choose one of {', '.join(METHODS)}"
        )
    return METHODS[name]


def raw_cam(method: Method) -> Any:
    """The package's class, but giving the maps of all layers as computed: signed, at each layer's own size.

    The package scales each map from its least to its greatest value, which makes a picture of rounding errors where a
    map is flat.
    """
    import pytorch_grad_cam

    class Raw(getattr(pytorch_grad_cam, method.made_by)):  # type: ignore[misc]
        def compute_cam_per_layer(self, input_tensor: Any, targets: Any, eigen_smooth: bool) -> Any:
            seen = self.activations_and_grads
            activations = [values.numpy() for values in seen.activations]
            gradients = [values.numpy() for values in seen.gradients] or [None] * len(activations)
            layers = zip(self.target_layers, activations, gradients, strict=True)
            return [self.get_cam_image(input_tensor, layer, targets, a, g, eigen_smooth) for layer, a, g in layers]

        def aggregate_multi_layers(self, maps: Any) -> Any:
            return maps

    return Raw
