"""VMamba in its first form (Liu et al. 2024, arXiv 2401.10166v1), the paper's nearest baseline, on the same scan.

The same stem, merging and SS2D; a block is the scan alone on all channels, and a LayerNorm comes before the mean.
"""

from medmamba.models.medmamba import Variant, default_configs, register_variants

VARIANTS = {
    "vmamba_tiny": Variant((2, 2, 9, 2), (96, 192, 384, 768), block="scan", final_norm=True),
    "vmamba_small": Variant((2, 2, 27, 2), (96, 192, 384, 768), block="scan", final_norm=True),
    "vmamba_base": Variant((2, 2, 27, 2), (128, 256, 512, 1024), block="scan", final_norm=True),
}

default_cfgs = default_configs(VARIANTS)
register_variants(__name__, VARIANTS)
