"""What all pictures have in common: colours, names, PNG. Matplotlib is imported where something is drawn.

Figures are made without pyplot: no window system, no state shared between threads.
"""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

from medmamba.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito 2008: told apart by colour-blind readers
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
DPI = 150


def require_matplotlib(extra: str) -> None:
    """Raise `InputError` with what to install where matplotlib is missing; `extra` is the one of the verb."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError(f"plots need matplotlib, which is not installed; pip install 'medmamba[{extra}]'") from None


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a file, cut to what is drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
    return buffer.getvalue()


def readable(name: str) -> str:
    """A class name in lines of moderate length, with dollar signs that matplotlib does not take for mathematics."""
    return textwrap.fill(name, 30).replace("$", r"\$")


def with_n(name: str, n: int) -> str:
    """A name and a number of images."""
    return f"{name} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{n})"
