"""A trained model on a data set it has not seen: figures with intervals, tables, pictures."""

from medmamba.evaluation.complexity import complexity
from medmamba.evaluation.scoring import evaluate

__all__ = ["complexity", "evaluate"]
