"""A small model for the service."""

import pytest

from medmamba.cli import main


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """A run on phantoms, trained for one epoch."""
    run = tmp_path_factory.mktemp("served") / "run"
    options = ["--model", "medmamba_nano", "--recipe", "quick", "--epochs", "1", "--image-size", "32", "32"]
    assert main(["train", "phantoms:60", "--out", str(run), *options]) == 0
    return run
