"""The selective scans: one readable reference and faster implementations that are tested against it."""

from medmamba.ops.backend import BackendError, describe, use_backend
from medmamba.ops.cross_scan import cross_scan
from medmamba.ops.selective_scan import selective_scan

__all__ = ["BackendError", "cross_scan", "describe", "selective_scan", "use_backend"]
