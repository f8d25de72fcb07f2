"""The files of `deploy/` and their how-to name what exists, and say what was measured."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from medmamba.serve import connections
from medmamba.serve.limits import Limits
from medmamba.serve.numbers import Numbers
from medmamba.serve.service import MAX_PIXELS, READERS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
CONTAINER = (DEPLOY / "Containerfile").read_text()
UNIT = (DEPLOY / "medmamba.service").read_text()
OTHERS = {"--extra-index-url", "--memory"}  # of pip and of containers
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def options():
    """Of `medmamba serve`, as its help names them."""
    done = subprocess.run([sys.executable, "-m", "medmamba", "serve", "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"--[a-z][a-z-]*", done.stdout))


@pytest.fixture
def load_service(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("load_service")


def setting(name):
    """The values of a key of the unit, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def instruction(name):
    """The arguments of an instruction of the container file, continued lines joined."""
    return re.findall(rf"^{name} (.*)$", CONTAINER.replace("\\\n", " "), re.MULTILINE)


def used_options(text):
    """Options in the lines that call `medmamba serve`."""
    return {word for line in re.findall(r"medmamba serve.*", text) for word in re.findall(r"--[a-z][a-z-]*", line)}


def test_every_option_of_the_service_that_is_named_exists(options):
    [entry] = instruction("ENTRYPOINT")
    words = json.loads(entry)
    assert words[:2] == ["medmamba", "serve"]
    named = used_options(PAGE) | used_options(UNIT) | {word for word in words if word.startswith("--")}
    named |= set(re.findall(r"`(--[a-z-]+)", PAGE)) - OTHERS
    assert {"--host", "--port", "--allow-host", "--max-pixels"} <= named <= options


def test_extras_and_versions_are_those_of_the_project():
    extras = set(PROJECT["optional-dependencies"])
    [build] = [value for value in instruction("ARG") if value.startswith("EXTRAS=")]
    named = [shlex.split(build)[0].partition("=")[2], *re.findall(r"['.](?:medmamba)?\[([\w,]+)\]", PAGE + UNIT)]
    assert len(named) >= 4
    assert all(set(words.split(",")) <= extras and "serve" in words for words in named)
    least = PROJECT["requires-python"].removeprefix(">=")
    assert {line.partition(" ")[0] for line in instruction("FROM")} == {f"python:{least}-slim"}


def test_the_container_file_builds_from_what_it_copies():
    ignore = (DEPLOY / "Containerfile.dockerignore").read_text().split()
    sent = {word[1:] for word in ignore if word.startswith("!")}
    assert "*" in ignore
    copied = [line.split()[:-1] for line in instruction("COPY") if not line.startswith("--from")]
    names = {name for line in copied for name in line}
    assert names == sent
    assert all((ROOT / name).exists() for name in names)
    assert {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]} <= names


def test_the_container_is_not_root_and_asks_for_its_health():
    last = CONTAINER.rpartition("\nFROM ")[2]
    [user] = re.findall(r"^USER (\d+):\d+$", last, re.MULTILINE)
    assert int(user) > 0
    assert "/healthz" in last
    assert not re.search(r"https?://(?!127\.0\.0\.1)", CONTAINER)
    for option in ("--read-only", "--cap-drop ALL", "no-new-privileges", "--memory-swap"):
        assert option in CONTAINER


def test_the_unit_shuts_what_it_can():
    wanted = {
        "DynamicUser": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "IPAddressDeny": "any",
        "IPAddressAllow": "localhost",
        "MemorySwapMax": "0",
        "LimitCORE": "0",
    }
    assert {name: setting(name) for name in wanted} == {name: [value] for name, value in wanted.items()}
    assert setting("MemoryMax")
    assert setting("MemoryDenyWriteExecute") == []  # the scan is compiled in memory
    assert "MEDMAMBA_TOKEN" not in "".join(setting("Environment"))  # `systemctl show` tells it to everyone


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_understands_the_unit(tmp_path):
    unit = tmp_path / "medmamba.service"
    unit.write_text(UNIT.replace("/opt/medmamba/bin/medmamba", shutil.which("true")))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    assert done.returncode == 0, done.stderr
    assert "medmamba.service" not in done.stderr


def test_the_page_states_the_limits_of_the_service():
    limits, mb = Limits(), 1 << 20
    for words in (
        f"{limits.body // mb} MB, {limits.files} images",
        f"{MAX_PIXELS:,} pixels",
        f"{limits.requests}, and {limits.bodies // mb} MB of bodies",
        f"{limits.pause:.0f} s without a byte, {limits.whole:.0f} s in all",
        f"{connections.MOST}; {connections.HEAD:.0f} s for the head",
    ):
        assert words in PAGE
    assert f"client_max_body_size {limits.body // mb}m" in PAGE
    assert READERS == 4  # "up to the fourth"


def test_the_page_names_the_counters_of_the_service():
    told = Numbers().text(0, 0, True)
    named = set(re.findall(r"`(medmamba_\w+)`", PAGE.partition("## Watch it")[2]))
    assert len(named) >= 7
    assert all(f"# TYPE {name} " in told for name in named)


def test_the_lid_on_memory_is_one():
    [unit] = setting("MemoryMax")
    [container] = set(re.findall(r"--memory(?:-swap)? (\d+\w)", CONTAINER))
    assert unit.lower() == container
    assert f"{unit[:-1]} GB" in PAGE


def test_the_page_says_what_was_measured(load_service):
    assert load_service.RESULTS.exists()
    results = json.loads(load_service.RESULTS.read_text())
    assert f"service-load.json -->\n{load_service.block(results)}<!-- end of results -->" in PAGE
    assert all(results["reached"].values())
    assert (results["uploads"]["seconds"], results["uploads"]["parallel"]) == (60, 200)
    assert results["cores"] == 2
    assert results["commit"]


def test_hostile_requests_were_made_by_the_thousand():
    results = json.loads((ROOT / "benchmarks" / "results" / "service-hostile.json").read_text())
    assert results["reached"]
    assert results["fuzzed"]["described"]["requests"] >= 10_000
    assert results["commit"]
