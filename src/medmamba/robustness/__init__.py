"""What happens to a model's answers when its images get worse: corruptions, and a sweep over all of them."""

from medmamba.robustness.run import sweep
from medmamba.robustness.table import CORRUPTIONS, Corruption

__all__ = ["CORRUPTIONS", "Corruption", "sweep"]
