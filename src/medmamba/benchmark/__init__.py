"""Speed and memory of models, and of the scan alone, in one run on one machine."""

from medmamba.benchmark.plan import MODES, Plan, make_plan
from medmamba.benchmark.run import benchmark, is_report

__all__ = ["MODES", "Plan", "benchmark", "is_report", "make_plan"]
