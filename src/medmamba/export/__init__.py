"""A trained model as one file for another engine, checked against torch before it is kept."""

from medmamba.export.run import export

__all__ = ["export"]
