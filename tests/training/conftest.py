"""Short runs for every test of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from noise import SHORT, make_data

from medmamba.data.dataset import Dataset
from medmamba.training import fit


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and lose much where other programs use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def short_fit(tmp_path: Path) -> Callable[..., Path]:
    """`short_fit("name", data, option=...)` -> the folder of a run of two epochs in a second."""

    def run(name: str = "run", data: Dataset | str | Path | None = None, **options: Any) -> Path:
        return fit(make_data() if data is None else data, out=tmp_path / name, **{"config": SHORT, **options})

    return run
