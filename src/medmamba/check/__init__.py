"""What is wrong with a data set, before anyone trains on it."""

from medmamba.check.page import page
from medmamba.check.run import Report, check, not_opened, open_leniently

__all__ = ["Report", "check", "not_opened", "open_leniently", "page"]
