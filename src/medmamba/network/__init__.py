"""The network itself, in plain torch.

timm, whose import would delay the start of `predict`, is met only in `medmamba.models`.
"""

from medmamba.network.compiling import mend_inductor, record
from medmamba.network.ensemble import Ensemble
from medmamba.network.inference import for_inference
from medmamba.network.medmamba import VARIANTS, MedMamba, build, check_size

__all__ = ["VARIANTS", "Ensemble", "MedMamba", "build", "check_size", "for_inference", "mend_inductor", "record"]
