"""The network itself, in plain torch.

timm, whose import takes a third of the time that `predict` needs for an image, is met only in `medmamba.models`.
"""

from medmamba.network.medmamba import VARIANTS, MedMamba, build, check_size

__all__ = ["VARIANTS", "MedMamba", "build", "check_size"]
