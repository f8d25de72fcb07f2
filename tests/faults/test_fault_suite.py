"""The fault suite itself: it sees what is wrong, a few of its tries are survived, its page is what its results say."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
ONE_EACH = "kill,terminate,full-disk,read-only,worker,damaged-checkpoint,nan,lost-gpu,memory-halved"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return {name: importlib.import_module(name) for name in ("faults", "fault_kinds", "fault_runs", "faults_page")}


def test_the_page_is_what_the_results_say(scripts: dict[str, ModuleType]) -> None:
    page = scripts["faults_page"]
    assert page.PAGE.read_text() == page.page()


def test_the_results_are_of_all_faults_and_of_code_that_is_kept(scripts: dict[str, ModuleType]) -> None:
    if not scripts["faults"].RESULTS.exists():
        pytest.skip("not measured yet")
    results = json.loads(scripts["faults"].RESULTS.read_text())
    assert list(results["faults"]) == list(scripts["faults"].FAULTS)
    assert all(row["commit"] and not row["changed"] for row in results["faults"].values())
    assert results["faults"]["kill"]["tries"] >= 100
    assert all(row["survived"] + row["lost"] == row["tries"] for row in results["faults"].values())


def test_what_is_wrong_with_a_folder_is_seen(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    runs, kinds = scripts["fault_runs"], scripts["fault_kinds"]
    reference = runs.Reference(tmp_path, 1.0, "last", "history", {1: "first", 3: "last"})
    good = runs.State("readable", 1, "first", "", 2, "not finished", True, ())
    assert kinds.wrong_with(good, reference) == []
    assert "are not those of the epoch" in kinds.wrong_with(replace(good, best_epoch=3), reference)[0]
    assert "unreadable" in kinds.wrong_with(replace(good, bundle="InputError: damaged"), reference)[0]
    assert "no bundle after 2 finished epochs" in kinds.wrong_with(replace(good, bundle="none"), reference)[0]
    given = kinds.Try(tmp_path, None, reference, {})
    given.run.mkdir()
    (given.run / "curves.png").touch()
    done = runs.State("readable", 3, "last", "history", 4, "finished", True, ())
    assert kinds.not_the_same(given, done) == []
    changes = {"digest": "other", "history": "other", "ended": "not finished", "left": (".weights.x",), "bundle": "bad"}
    for name, value in changes.items():
        assert len(kinds.not_the_same(given, replace(done, **{name: value}))) == 1, name


def test_results_that_were_cut_off_are_seen(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / "whole.json").write_text("{}\n")
    (tmp_path / "whole.csv").write_text("a,b\n1,2\n")
    assert scripts["fault_runs"].broken_files(tmp_path) == []
    (tmp_path / "cut.json").write_text('{"a": ')
    (tmp_path / "cut.csv").write_text("a,b\n1,")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert [each.split(" ")[0] for each in scripts["fault_runs"].broken_files(tmp_path)] == [
        "cut.csv",
        "cut.json",
        "cut.png",
    ]


@pytest.mark.slow
def test_one_try_of_each_fault_of_training_is_survived(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "faults.py", "--only", ONE_EACH, "--tries", "1"]
    done = subprocess.run(
        [*command, "--seed", "1", "--out", tmp_path / "faults.json"], capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "faults.json").read_text())["faults"]
    assert {name: row["survived"] for name, row in rows.items()} == dict.fromkeys(ONE_EACH.split(","), 1)
