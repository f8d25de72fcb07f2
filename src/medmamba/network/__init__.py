"""The network itself, in plain torch.

timm, whose import would delay the start of `predict`, is met only in `medmamba.models`.
"""

from medmamba.network.compiling import mend_inductor, record
from medmamba.network.folding import fold_batch_norms
from medmamba.network.medmamba import VARIANTS, MedMamba, build, check_size

__all__ = ["VARIANTS", "MedMamba", "build", "check_size", "fold_batch_norms", "mend_inductor", "record"]
