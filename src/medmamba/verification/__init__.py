"""Whether what a folder holds is what it says: each promise of a run or an exported file, looked at."""

from medmamba.verification.outcome import Check, Outcome
from medmamba.verification.run import verify

__all__ = ["Check", "Outcome", "verify"]
