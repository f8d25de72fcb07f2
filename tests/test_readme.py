"""The README's code runs, and its figures are those of the results file."""

import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmamba.data.phantoms import phantom
from medmamba.metrics.intervals import wilson

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [code for language, code in BLOCKS if language == "sh"]


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_f036_c01_python_blocks_run_unedited(code, tmp_path):
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)


def test_the_two_lines_do_all_their_set_up():
    """CI and the release check run them; here, that they are whole."""
    demo, test = SHELL[0].strip().splitlines()
    for line in (demo, test):
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert demo.endswith(".venv/bin/medmamba demo")
    assert test.endswith(".venv/bin/python -m pytest")


def test_the_commands_on_your_own_images_run(tmp_path):
    for label, name in enumerate(("benign", "malignant")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(30):
            Image.fromarray(phantom(2 * i + label)[0]).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "new").mkdir()
    Image.fromarray(np.full((48, 64), 100, np.uint8)).save(tmp_path / "new" / "a.png")
    for line in SHELL[1].strip().splitlines():
        command = shlex.split(line)
        assert command[0] == "medmamba"
        # a few epochs show that the line works; the recipe's own number is for real images
        few = ["--epochs", "2"] if command[1] == "train" else []
        done = subprocess.run(
            [sys.executable, "-m", *command, *few], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_table_of_results_is_what_the_command_wrote():
    small_data = script("small_data")
    results = json.loads(small_data.RESULTS.read_text())
    assert small_data.table(results) in README
    for result in results.values():
        assert {run["seed"] for run in result["runs"]} == {0, 1, 2}
        assert result["commit"]
        assert "-dirty" not in result["commit"]


def test_the_tables_of_speeds_are_what_the_benchmark_wrote(monkeypatch):
    tables = script("gpu_tables")
    assert tables.models() in README
    page = (ROOT / "docs" / "explain" / "scan.md").read_text()
    assert tables.large() in page
    assert tables.scans() in page
    assert tables.history() in page
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    processor = importlib.import_module("processor")
    assert processor.table(json.loads(processor.RESULTS.read_text())) in page
    page = (ROOT / "docs" / "how-to" / "fast-training.md").read_text()
    assert tables.gpus() in page
    difference = tables.load("two-gpus")["auc_difference"]
    assert "{value:.4f} (95 % paired bootstrap interval {low:.4f} to {high:.4f})".format(**difference) in page
    for name in ("gpu", "gpu-1024", "gpu-base16", "gpu-scan"):
        report = tables.load(name)
        assert report["complete"]
        assert report["commit"]
        assert not report["changed"]


def script(name):
    """A module of `benchmarks`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_models_in_the_documents_have_their_parameters():
    from medmamba import info

    page = (ROOT / "docs" / "reference" / "models.md").read_text()
    for name, depths, widths, six, thousand, paper in info.models()[1:]:
        paper = "ours" if paper == "-" else paper.partition(" (")[0]
        assert f"| `{name}` | {depths} | {widths} | {six} / {thousand} | {paper} |" in page


def test_the_intervals_of_few_test_images_are_wilsons():
    page = (ROOT / "docs" / "how-to" / "small-data.md").read_text()
    rows = re.findall(r"^\| ([\d,]+) \| (0\.\d\d) and (0\.\d\d) \|$", page, flags=re.MULTILINE)
    assert len(rows) == 3
    for images, low, high in rows:
        n = int(images.replace(",", ""))
        found = wilson(round(0.85 * n), n)
        assert found is not None
        assert [f"{bound:.2f}" for bound in found] == [low, high]
