"""A trained model on one page, for a colleague or a reviewer: what it is worth, where it errs, what stays open."""

from medmamba.report.run import write_report

__all__ = ["write_report"]
