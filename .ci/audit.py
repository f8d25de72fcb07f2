"""Whether a package of the locks has a known vulnerability: asks pip-audit, from the environment of tools.txt.

    python .ci/audit.py

Exit code 1 if there is one without an exception in audit-exceptions.toml, or an exception past its date. Where no
advisory service answers, it says that nothing was audited, and why, with exit code 0. A service that knows nothing of a
release whose holes everyone knows is taken for one that does not answer.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lock import BUILD, HERE, TESTS, TOOLS, name_of, read_lock

EXCEPTIONS = HERE / "audit-exceptions.toml"
KNOWN_HOLES = ("pillow", "9.0.0")  # CVE-2022-22817 and a dozen later ones
SERVICES = ("osv", "pypi")
SECONDS = 15  # for each answer of a service


class NotAuditedError(Exception):
    """No service answers; the message says why."""


@dataclass(frozen=True)
class Hole:
    """A known vulnerability of a release in the locks.

    Attributes:
        package: Its name.
        version: The release.
        ids: All names of the advisory.
        fixed: Releases without it.
    """

    package: str
    version: str
    ids: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"mended in {', '.join(self.fixed)}" if self.fixed else "not mended in any release"
        return f"{self.package} {self.version}: {' '.join(self.ids)}, {mended}"


@dataclass(frozen=True)
class Excused:
    """An entry of the exceptions."""

    id: str
    package: str
    why: str
    until: datetime.date


def read_exceptions(path: Path) -> list[Excused]:
    """The exceptions.

    Raises:
        ValueError: An entry lacks something or has something else.
    """
    entries = tomllib.loads(path.read_text())["exception"]
    try:
        found = [Excused(**entry) for entry in entries]
    except TypeError as reason:
        raise ValueError(f"{path.name}: {reason}; an exception has id, package, why and until") from None
    for each in found:
        if type(each.until) is not datetime.date or not str(each.why).strip():
            raise ValueError(f"{path.name}: {each.id} needs a reason and a date such as 2027-01-31")
    return found


def holes_of(report: Mapping[str, Any], asked: Mapping[str, str]) -> list[Hole]:
    """The vulnerabilities in what pip-audit reported.

    Args:
        report: pip-audit's JSON.
        asked: Version of each package that it was asked of.

    Raises:
        NotAuditedError: A package is missing or was passed over.
    """
    there = {name_of(each["name"]): each for each in report["dependencies"]}
    silent = [name for name in asked if name not in there or "vulns" not in there[name]]
    if silent:
        why = there[silent[0]].get("skip_reason", "") if silent[0] in there else ""
        raise NotAuditedError(f"nothing is said of {len(silent)} of {len(asked)} packages, {silent[0]} first: {why}")
    return [
        Hole(name, asked[name], (hole["id"], *hole["aliases"]), tuple(hole["fix_versions"]))
        for name in asked
        for hole in there[name]["vulns"]
    ]


def verdict(holes: Sequence[Hole], excused: Sequence[Excused], today: datetime.date) -> list[str]:
    """What is wrong, a sentence each: holes without an exception, exceptions past their date or without a hole."""

    def covers(each: Excused, hole: Hole) -> bool:
        return each.id in hole.ids and name_of(each.package) == hole.package

    wrong = [str(hole) for hole in holes if not any(covers(each, hole) for each in excused)]
    for each in excused:
        if each.until < today:
            wrong.append(f"the exception for {each.id} of {each.package} ended on {each.until}; look again")
        if not any(covers(each, hole) for hole in holes):
            wrong.append(f"the exception for {each.id} of {each.package} is not needed any more; delete it")
    return wrong


def expired(excused: Sequence[Excused], today: datetime.date) -> list[str]:
    """What is wrong with the exceptions where nothing can be audited."""
    return [f"the exception for {each.id} ended on {each.until}; look again" for each in excused if each.until < today]


def ask(service: str, packages: Mapping[str, str]) -> list[Hole]:
    """The holes that a service knows in these releases.

    Raises:
        NotAuditedError: It does not answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "packages.txt"
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in packages.items()))
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(wanted), "--disable-pip", "--no-deps"]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(SECONDS)]
        command += ["--vulnerability-service", service, "--cache-dir", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise NotAuditedError(f"no report, but ...{lines[-1][-90:]}") from None
    return holes_of(report, packages)


def find_service(failures: list[str]) -> str:
    """The first service that knows what everyone knows; why others do not do is added to `failures`."""
    for service in SERVICES:
        try:
            if ask(service, dict([KNOWN_HOLES])):
                return service
            failures.append(f"{service} knows no hole of {' '.join(KNOWN_HOLES)}")
        except NotAuditedError as reason:
            failures.append(f"{service}: {reason}")
    raise NotAuditedError("; ".join(failures))


def main() -> int:
    """Audit; the exit code."""
    excused, today = read_exceptions(EXCEPTIONS), datetime.datetime.now(datetime.UTC).date()
    # a package of several locks may have a release in each: one question a lock
    locks = {
        name: {package: version for package, (version, _) in read_lock(HERE / name).items()}
        for name in (TESTS, BUILD, TOOLS)
    }
    try:
        service = find_service([])
        holes = {hole for packages in locks.values() for hole in ask(service, packages)}
    except NotAuditedError as reason:
        print(f"audit: NOTHING WAS AUDITED, no advisory service answers ({reason})")
        wrong = expired(excused, today)
    else:
        number = len({item for packages in locks.values() for item in packages.items()})
        print(
            f"audit: {number} releases asked of {service}, {len(holes)} known vulnerabilities, {len(excused)} excused"
        )
        wrong = verdict(sorted(holes, key=str), excused, today)
    for sentence in wrong:
        print(f"audit: {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
