"""Which files CI installs, with their hashes: writes build.txt, requirements.txt and tools.txt beside this script.

    python3.11 .ci/lock.py
    python3 .ci/lock.py --fits    (exit code 0 on a platform that the locks are for)

Run it where a dependency in pyproject.toml changes, and from time to time for what is new. Python 3.11 on Linux with an
x86-64 processor is what CI has, and what the files are for. pip resolves; nothing is installed.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PLATFORM = ("3.11", "Linux", "x86_64")
EDITABLE = "editables"  # what hatchling asks for when it installs with -e, said nowhere but at its hook
BUILD, TESTS, TOOLS = "build.txt", "requirements.txt", "tools.txt"
_WORDS = {
    BUILD: "What packages are built with that have no wheel, ours among them; installed first",
    TESTS: "What the tests, the style and the types need",
    TOOLS: "What audits the others and lists them, in an environment of its own",
}


def name_of(package: str) -> str:
    """A package's name in the one spelling that all of its spellings stand for (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def read_lock(path: Path) -> dict[str, tuple[str, str]]:
    """Version and SHA-256 of each package of a lock, by name.

    Raises:
        ValueError: A line is none of `lock_text`.
    """
    found = {}
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-z0-9-]+)==(\S+) --hash=sha256:([0-9a-f]{64})", line)
        if match is None:
            raise ValueError(f"{path.name} has the line {line!r}; make it again with lock.py")
        found[match[1]] = (match[2], match[3])
    return found


def lock_text(name: str, report: Mapping[str, Any]) -> str:
    """A lock from pip's report of what it would install; what lies in a folder (this package) is left out."""
    lines = []
    for each in report["install"]:
        metadata, origin = each["metadata"], each["download_info"]
        if "dir_info" in origin:
            continue
        digest = origin["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name_of(metadata['name'])}=={metadata['version']} --hash=sha256:{digest}")
    version, system, machine = PLATFORM
    head = f"# {_WORDS[name]}. Python {version}, {system} {machine}. Made by .ci/lock.py, not by hand."
    return "\n".join((head, *sorted(lines))) + "\n"


def resolve(wanted: Sequence[str], constraints: Path | None = None) -> dict[str, Any]:
    """pip's report of what it would install into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        bounds = []
        if constraints is not None:
            # pip takes no hashes from constraints
            bounds = ["--constraint", f"{folder}/constraints.txt"]
            pins = (f"{package}=={version}\n" for package, (version, _) in read_lock(constraints).items())
            Path(bounds[1]).write_text("".join(pins))
        subprocess.run([*command, "--report", str(report), *bounds, *wanted], check=True, cwd=HERE.parent)
        return json.loads(report.read_text())


def is_for_here() -> bool:
    """Whether this Python and machine are those that the locks are for."""
    return (f"{sys.version_info[0]}.{sys.version_info[1]}", platform.system(), platform.machine()) == PLATFORM


def main() -> None:
    """Write the three files."""
    if "--fits" in sys.argv[1:]:
        sys.exit(0 if is_for_here() else 1)
    if not is_for_here():
        sys.exit(f"the locks are for Python {' '.join(PLATFORM)}; run lock.py there")
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    build = [*project["build-system"]["requires"], EDITABLE, "setuptools", "wheel"]
    wanted = {TESTS: [".[dev]", *build], BUILD: build, TOOLS: ["pip-audit", "cyclonedx-bom"]}
    for name, packages in wanted.items():
        bounds = HERE / TESTS if name == BUILD else None
        (HERE / name).write_text(lock_text(name, resolve(packages, bounds)))
        print(f"{name}: {len(read_lock(HERE / name))} packages")


if __name__ == "__main__":
    main()
