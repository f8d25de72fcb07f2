"""MedMamba and VMamba, registered with timm on import: `timm.create_model` knows their names from then on."""

from medmamba.models import registration
from medmamba.models.creation import create_model, model_names
from medmamba.models.official import load_published
from medmamba.network import MedMamba

__all__ = ["MedMamba", "create_model", "load_published", "model_names", "registration"]
