"""A trained model as one file for another engine, checked against torch before it is kept."""

from medmamba.export.run import FORMATS, export

__all__ = ["FORMATS", "export"]
