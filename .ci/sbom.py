"""What the package was built and tested with, as a CycloneDX file: names, releases, licences, hashes, who needs whom.

    python .ci/sbom.py ENVIRONMENT OUT

It runs in the environment of tools.txt and looks at the one of requirements.txt, in which the package is installed.
The file is complete, or it is not written: every package of the locks is in it with its hash, and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lock import BUILD, HERE, TESTS, name_of, read_lock

VERSION = "1.6"  # of CycloneDX
OF_EVERY_ENVIRONMENT = {"pip"}  # what `python -m venv` puts there, which is in no lock


def describe(environment: Path) -> dict[str, Any]:
    """The packages of an environment as CycloneDX, with the project as the root; no hashes yet."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "sbom.json"
        command = [sys.executable, "-m", "cyclonedx_py", "environment", str(environment / "bin" / "python")]
        command += ["--pyproject", str(HERE.parent / "pyproject.toml"), "--mc-type", "library", "--no-validate"]
        command += ["--output-reproducible", "--spec-version", VERSION, "--output-format", "JSON", "-o", str(out)]
        subprocess.run(command, check=True)
        return json.loads(out.read_text())


def complete(sbom: dict[str, Any], locked: Mapping[str, tuple[str, str]]) -> list[str]:
    """Add the hashes of a lock, in place; what is missing or too much, a sentence each."""
    sbom["components"] = [each for each in sbom["components"] if name_of(each["name"]) not in OF_EVERY_ENVIRONMENT]
    there = {name_of(each["name"]): each for each in sbom["components"]}
    wrong = [
        f"{name} {locked[name][0]} is in the lock and not in the list" for name in sorted(set(locked) - set(there))
    ]
    wrong += [f"{name} is in the list and not in the lock" for name in sorted(set(there) - set(locked))]
    for name in sorted(set(there) & set(locked)):
        version, digest = locked[name]
        if there[name]["version"] != version:
            wrong.append(f"{name} is {there[name]['version']} in the list and {version} in the lock")
        there[name]["hashes"] = [{"alg": "SHA-256", "content": digest}]
    kept = {each["bom-ref"] for each in (*sbom["components"], sbom["metadata"]["component"])}
    sbom["dependencies"] = [
        {**each, "dependsOn": [ref for ref in each["dependsOn"] if ref in kept]} if "dependsOn" in each else each
        for each in sbom["dependencies"]
        if each["ref"] in kept
    ]
    return wrong


def check_schema(text: str) -> str | None:
    """What CycloneDX's own schema has against it, or None."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.from_version(VERSION)).validate_str(text)
    return None if fault is None else str(fault)


def main(environment: Path, out: Path) -> int:
    """Write the file; the exit code."""
    sbom = describe(environment)
    wrong = complete(sbom, read_lock(HERE / TESTS) | read_lock(HERE / BUILD))
    text = json.dumps(sbom, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    if fault := check_schema(text):
        wrong.append(f"it is no CycloneDX {VERSION}: {fault}")
    for sentence in wrong:
        print(f"sbom: {sentence}")
    if wrong:
        return 1
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    print(f"sbom: {out.name}, {len(sbom['components'])} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
