"""The command line.

Progress and warnings go to standard error, results to standard output. Exit codes: 0 done; 1 the run failed, or some
rows did; 2 the request was wrong and nothing was started. Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from medmamba.cli.console import LogHandler, is_first_process
from medmamba.cli.verbs import VERBS
from medmamba.errors import FailedError, InputError
from medmamba.text import printable

DESCRIPTION = """Train, evaluate and use medical image classifiers, built on MedMamba.

Research software, not a medical device."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal's encoding lacks must not end a command
            stream.reconfigure(errors="backslashreplace")
    package = logging.getLogger("medmamba")
    package.setLevel(logging.INFO)
    package.addHandler(handler := LogHandler())
    handler.setLevel(logging.INFO if is_first_process() else logging.WARNING)
    try:
        return parse(arguments).run()
    except InputError as reason:
        print(printable(f"medmamba: {reason}"), file=sys.stderr)
        return 2
    except FailedError as reason:
        print(printable(f"medmamba: {reason}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("medmamba: stopped", file=sys.stderr)
        return 1
    finally:
        package.removeHandler(handler)


def parse(arguments: Sequence[str] | None) -> Any:
    """The verb and its options; leaves with code 2 and a message if they are wrong."""
    return tyro.extras.subcommand_cli_from_dict(
        VERBS,
        prog="medmamba",
        description=DESCRIPTION,
        args=arguments,
        config=(
            tyro.conf.OmitArgPrefixes,
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.HelptextFromCommentsOff,
            tyro.conf.PositionalMetavarFromFieldName,
        ),
    )
