"""MedMamba, VMamba and MedViT, registered with timm on import: `timm.create_model` knows their names from then on."""

from medmamba.models import registration, small_stem
from medmamba.models.creation import create_model, model_names
from medmamba.models.medvit import MedViT
from medmamba.models.official import load_published
from medmamba.network import MedMamba

__all__ = ["MedMamba", "MedViT", "create_model", "load_published", "model_names", "registration", "small_stem"]
