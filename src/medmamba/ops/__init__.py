"""The selective scans and the convolution before them: readable references, and faster ones tested against these."""

from medmamba.ops import cpu_threads  # noqa: F401 - notes by which process the package was imported
from medmamba.ops.backend import BackendError, describe, use_backend
from medmamba.ops.conv_silu import conv_silu
from medmamba.ops.cross_scan import cross_scan
from medmamba.ops.selective_scan import selective_scan

__all__ = ["BackendError", "conv_silu", "cross_scan", "describe", "selective_scan", "use_backend"]
