"""The paper's tables as data, and what of them comes out here."""

from medmamba.paper.reproduce import WHAT, reproduce

__all__ = ["WHAT", "reproduce"]
