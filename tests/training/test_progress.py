import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from medmamba.training import progress
from medmamba.training.progress import in_clock


def test_times_are_read_as_clocks() -> None:
    assert [in_clock(seconds) for seconds in (0.4, 59.6, 245, 3723)] == ["0:00", "1:00", "4:05", "1:02:03"]


def test_on_a_terminal_the_bar_shows_epoch_loss_auc_and_remaining_time(
    short_fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **options: Console(file=text, force_terminal=True, width=120, color_system=None)
    )
    short_fit(progress=True)
    shown = text.getvalue()
    assert "epoch 1/2" in shown
    assert "validation AUC -" in shown
    assert "left" in shown
    assert "\x1b[?25h" in shown  # the cursor is shown again
