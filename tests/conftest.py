"""What all tests share: where the real data and the golden files are, if they are here."""

import os
from pathlib import Path

import pytest
import torch


def pytest_configure() -> None:
    """Processes that test side by side share the processor's cores."""
    if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Whatever expression chose a test of the card, it is skipped with a reason where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).is_dir():
        pytest.skip(f"{variable} does not name a folder")
    return Path(value)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real medical images; skips where they are absent."""
    return _folder("MEDMAMBA_DATA")


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Outputs of the published model; skips where they are absent."""
    return _folder("MEDMAMBA_GOLDEN")
