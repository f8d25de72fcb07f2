"""From a publisher's download to a table that `open_data` takes."""

from medmamba.data.prepare.run import Prepared, prepare

__all__ = ["Prepared", "prepare"]
