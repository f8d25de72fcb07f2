"""Short runs for every test of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from noise import SHORT, make_data

from medmamba.data.dataset import Dataset
from medmamba.training import fit


@pytest.fixture
def short_fit(tmp_path: Path) -> Callable[..., Path]:
    """`short_fit("name", data, option=...)` -> the folder of a run of two epochs in a second."""

    def run(name: str = "run", data: Dataset | str | Path | None = None, **options: Any) -> Path:
        return fit(make_data() if data is None else data, out=tmp_path / name, **{"config": SHORT, **options})

    return run
