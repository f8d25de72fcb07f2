"""What CI is built from: locks with hashes, exceptions with dates, a complete list of packages."""

from __future__ import annotations

import datetime
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TODAY = datetime.date(2026, 6, 1)
NAMES = ("lock", "audit", "sbom", "installed")

if not (ROOT / ".ci").is_dir():
    pytest.skip("the scripts of CI are not part of what is shipped", allow_module_level=True)


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    sys.path.insert(0, str(ROOT / ".ci"))
    yield {name: importlib.import_module(name) for name in NAMES}
    sys.path.remove(str(ROOT / ".ci"))
    for name in NAMES:
        del sys.modules[name]


@pytest.fixture(scope="module")
def lock(scripts: dict[str, ModuleType]) -> ModuleType:
    return scripts["lock"]


@pytest.fixture(scope="module")
def audit(scripts: dict[str, ModuleType]) -> ModuleType:
    return scripts["audit"]


def test_each_lock_pins_every_package_to_a_release_and_a_file(lock: ModuleType) -> None:
    for name in (lock.BUILD, lock.TESTS, lock.TOOLS):
        text = (ROOT / ".ci" / name).read_text()
        packages = lock.read_lock(ROOT / ".ci" / name)
        assert len(packages) == sum(not line.startswith("#") for line in text.splitlines())
        assert "://" not in text  # from whichever index: the hash says what the file is


def test_the_lock_has_all_that_the_project_asks_for_by_name(lock: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    asked = [*project["project"]["dependencies"], *(line for lines in extras.values() for line in lines)]
    names = {lock.name_of(re.split(r"[^\w.-]", line)[0]) for line in asked if "sys_platform == 'darwin'" not in line}
    assert names - {"medmamba"} <= set(lock.read_lock(ROOT / ".ci" / lock.TESTS))
    built = {lock.name_of(line) for line in project["build-system"]["requires"]}
    locked = lock.read_lock(ROOT / ".ci" / lock.BUILD)
    assert built <= set(locked)
    both = lock.read_lock(ROOT / ".ci" / lock.TESTS)
    assert all(
        both[name] == pin for name, pin in locked.items()
    )  # the second installation takes none of the first away


def test_a_lock_that_was_written_by_hand_is_refused(lock: ModuleType, tmp_path: Path) -> None:
    for line in (
        "numpy>=2",
        "numpy==2.4.6",
        "numpy==2.4.6 --hash=md5:00",
        f"evil @ https://x/y --hash=sha256:{'0' * 64}",
    ):
        (tmp_path / "lock.txt").write_text(f"# by hand\n{line}\n")
        with pytest.raises(ValueError, match="make it again"):
            lock.read_lock(tmp_path / "lock.txt")


def test_a_lock_is_made_from_what_pip_reports(lock: ModuleType, tmp_path: Path) -> None:
    def row(name: str, version: str, **origin: Any) -> dict[str, Any]:
        return {"metadata": {"name": name, "version": version}, "download_info": origin}

    report = {
        "install": [
            row("Zope.Interface", "8.0", archive_info={"hashes": {"sha256": "a" * 64}}),
            row("medmamba", "0.1.0", dir_info={}),
            row("attrs", "26.1.0", archive_info={"hashes": {"sha256": "b" * 64}}),
        ]
    }
    path = tmp_path / "lock.txt"
    path.write_text(lock.lock_text(lock.TESTS, report))
    assert lock.read_lock(path) == {"attrs": ("26.1.0", "b" * 64), "zope-interface": ("8.0", "a" * 64)}
    assert path.read_text().splitlines()[0].startswith("# ")


def test_packages_beside_the_lock_are_named(scripts: dict[str, ModuleType]) -> None:
    differences = scripts["installed"].differences
    assert differences({"a": "1"}, {"a": "1"}) == []
    assert differences({"a": "1", "c": "3", "d": "5"}, {"a": "2", "b": "1", "d": "5"}) == [
        "b 1 is not installed",
        "c 3 is in no lock",
        "a is 1, in the lock 2",
    ]


def report_of(**holes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"dependencies": [{"name": name, "version": "1.0", "vulns": found} for name, found in holes.items()]}


HOLE = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1", "GHSA-1"], "fix_versions": ["1.1"]}


def excused(audit: ModuleType, until: datetime.date, **changes: str) -> Any:
    return audit.Excused(**{"id": "CVE-2026-1", "package": "Torch", "why": "not called", "until": until, **changes})


def test_a_hole_fails_unless_it_is_excused_and_in_time(audit: ModuleType) -> None:
    holes = audit.holes_of(report_of(torch=[HOLE], numpy=[]), {"torch": "1.0", "numpy": "1.0"})
    assert audit.verdict(holes, [], TODAY) == ["torch 1.0: PYSEC-2026-1 CVE-2026-1 GHSA-1, mended in 1.1"]
    assert audit.verdict(holes, [excused(audit, TODAY)], TODAY) == []  # its last day counts
    late = excused(audit, TODAY - datetime.timedelta(days=1))
    assert "ended on 2026-05-31" in audit.verdict(holes, [late], TODAY)[0]
    assert audit.expired([late], TODAY)
    assert not audit.expired([excused(audit, TODAY)], TODAY)


def test_an_exception_covers_its_own_package_alone_and_no_longer_than_it_is_needed(audit: ModuleType) -> None:
    holes = audit.holes_of(report_of(torch=[HOLE]), {"torch": "1.0"})
    other = excused(audit, TODAY, package="numpy")
    assert len(audit.verdict(holes, [other], TODAY)) == 2  # the hole, and an exception for nothing
    assert "not needed any more" in audit.verdict([], [excused(audit, TODAY)], TODAY)[0]


@pytest.mark.parametrize(
    "report",
    [
        report_of(numpy=[]),
        {"dependencies": [{"name": "torch", "skip_reason": "not found"}, {"name": "numpy", "vulns": []}]},
    ],
)
def test_silence_is_not_taken_for_safety(audit: ModuleType, report: dict[str, Any]) -> None:
    with pytest.raises(audit.NotAuditedError, match="1 of 2 packages, torch first"):
        audit.holes_of(report, {"torch": "1.0", "numpy": "1.0"})


def test_a_service_that_knows_nothing_of_known_holes_is_not_believed(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "ask", lambda service, packages: [])
    assert audit.main() == 0
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert "NOTHING WAS AUDITED" in told
    assert "pypi knows no hole of pillow 9.0.0" in told


def test_the_service_that_answers_is_asked_of_every_lock(
    audit: ModuleType, lock: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, str]] = []

    def ask(service: str, packages: dict[str, str]) -> list[Any]:
        if service == "osv":
            raise audit.NotAuditedError("no route")
        asked.append(packages)
        known = "torch" in packages or packages == dict([audit.KNOWN_HOLES])
        return [audit.Hole("torch", "1.0", ("CVE-2026-1",), ())] if known else []

    monkeypatch.setattr(audit, "ask", ask)
    assert audit.main() == 1
    assert "torch 1.0: CVE-2026-1, not mended in any release" in capsys.readouterr().out
    everything = {name for packages in asked for name in packages}
    assert all(set(lock.read_lock(ROOT / ".ci" / name)) <= everything for name in (lock.TESTS, lock.BUILD, lock.TOOLS))


def test_exceptions_have_a_reason_and_a_date(audit: ModuleType, tmp_path: Path) -> None:
    assert all(each.why for each in audit.read_exceptions(audit.EXCEPTIONS))
    path = tmp_path / "exceptions.toml"
    for entry in ('why = "x"', 'why = "x"\nuntil = "soon"', 'why = " "\nuntil = 2027-01-31', "until = 2027-01-31"):
        path.write_text(f'[[exception]]\nid = "CVE-1"\npackage = "p"\n{entry}\n')
        with pytest.raises(ValueError, match=r"reason and a date|package, why and until"):
            audit.read_exceptions(path)
    path.write_text('[[exception]]\nid = "CVE-1"\npackage = "p"\nwhy = "x"\nuntil = 2027-01-31\n')
    assert audit.read_exceptions(path)[0].until == datetime.date(2027, 1, 31)


def component(name: str, version: str) -> dict[str, Any]:
    return {"bom-ref": f"{name}=={version}", "name": name, "version": version, "type": "library"}


def test_the_list_of_packages_is_complete_and_has_their_hashes(scripts: dict[str, ModuleType]) -> None:
    sbom = {
        "metadata": {"component": component("medmamba", "0.1.0")},
        "components": [component("Numpy", "2.4"), component("pip", "23"), component("stray", "1")],
        "dependencies": [
            {"ref": "medmamba==0.1.0", "dependsOn": ["Numpy==2.4", "pip==23"]},
            {"ref": "pip==23"},
            {"ref": "Numpy==2.4"},
        ],
    }
    locked = {"numpy": ("2.5", "a" * 64), "torch": ("2.14", "b" * 64)}
    assert scripts["sbom"].complete(sbom, locked) == [
        "torch 2.14 is in the lock and not in the list",
        "stray is in the list and not in the lock",
        "numpy is 2.4 in the list and 2.5 in the lock",
    ]
    assert sbom["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert sbom["dependencies"] == [{"ref": "medmamba==0.1.0", "dependsOn": ["Numpy==2.4"]}, {"ref": "Numpy==2.4"}]


def test_ci_installs_nothing_without_a_hash() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "--require-hashes --no-deps" in script
    assert all(f".ci/{name}" in script for name in ("build.txt", "requirements.txt", "tools.txt"))
    direct = [line for line in script.splitlines() if "pip" in line and "install" in line and not line.startswith("#")]
    assert [line for line in direct if line.startswith("install()")]
    assert not [line for line in direct if "bin/pip" in line and not line.startswith("install()")]
