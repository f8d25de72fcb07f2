"""What is shipped."""

import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BOXED = ("bundle.json", "card.md", "weights.safetensors", "scope.safetensors", "report-test/report.html")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built with no torch and no compiler to be had."""
    folder = tmp_path_factory.mktemp("wheel")
    python = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", str(python)], check=True)
    command = [str(python / "bin" / "pip"), "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, env={**os.environ, "CC": "false", "CXX": "false"})
    return next(folder.glob("*.whl"))


def test_f003_a_pure_wheel_without_torch_or_compiler(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        text = "".join(archive.read(name).decode() for name in names if name.endswith((".py", ".yaml", "METADATA")))
    assert not [name for name in names if name.endswith((".so", ".pyd", ".nbc", ".nbi", ".pyc"))]
    assert {"medmamba/py.typed", "medmamba/training/recipes/small.yaml", "medmamba/paper/tables/table6.csv"} <= set(
        names
    )
    assert any(name.endswith("LICENSE") for name in names)
    box = ("__init__.py", "NOTICE.md", *(f"bundle/{name}" for name in BOXED))
    assert {f"medmamba/boxed/{name}" for name in box} <= set(names)
    assert wheel.stat().st_size < 6_000_000  # 4 of them the weights in the box
    assert str(ROOT) not in text


def test_f004_nothing_that_only_linux_has_is_required():
    needed = [line for line in requires("medmamba") or [] if "extra ==" not in line]
    names = {re.split(r"[^\w-]", line)[0].lower() for line in needed}
    assert "torch" in names
    assert not names & {"triton", "mamba-ssm", "causal-conv1d", "lightning", "matplotlib"}


def test_the_version_is_one():
    import medmamba

    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{medmamba.__version__}"' in project
    assert f"version: {medmamba.__version__}" in (ROOT / "CITATION.cff").read_text()
