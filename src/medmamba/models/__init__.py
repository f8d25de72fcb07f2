"""MedMamba and VMamba, registered with timm on import: `timm.create_model` knows their names from then on."""

from medmamba.models import vmamba
from medmamba.models.creation import create_model, model_names
from medmamba.models.medmamba import MedMamba
from medmamba.models.official import load_published

__all__ = ["MedMamba", "create_model", "load_published", "model_names", "vmamba"]
