"""Whether an environment holds what the locks say and nothing else; it runs in the environment itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import distributions

from lock import BUILD, HERE, TESTS, name_of, read_lock

OURS = "medmamba"
OF_EVERY_ENVIRONMENT = {"pip"}  # what `python -m venv` puts there


def differences(there: Mapping[str, str], locked: Mapping[str, str]) -> list[str]:
    """What is missing, too much or another release, a sentence each."""
    wrong = [f"{name} {locked[name]} is not installed" for name in sorted(set(locked) - set(there))]
    wrong += [f"{name} {there[name]} is in no lock" for name in sorted(set(there) - set(locked))]
    both = sorted(set(there) & set(locked))
    return wrong + [
        f"{name} is {there[name]}, in the lock {locked[name]}" for name in both if there[name] != locked[name]
    ]


def main() -> int:
    """Compare; the exit code."""
    there = {name_of(each.metadata["Name"]): each.version for each in distributions()}
    for name in (OURS, *OF_EVERY_ENVIRONMENT):
        there.pop(name, None)
    locked = {name: version for name, (version, _) in (read_lock(HERE / TESTS) | read_lock(HERE / BUILD)).items()}
    wrong = differences(there, locked)
    for sentence in wrong:
        print(f"lock: {sentence}")
    if wrong:
        print("lock: the locks are not what pyproject.toml asks for; make them again with python3.11 .ci/lock.py")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
