"""The command line.

Progress and warnings go to standard error, results to standard output. Exit codes: 0 done; 1 the run failed or was
stopped, or some rows failed; 2 the request was wrong and nothing was started. Nothing heavy is imported before a verb
runs.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from medmamba.cli.console import LogHandler, is_first_process
from medmamba.cli.verbs import VERBS
from medmamba.errors import FailedError, InputError, shown
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
        code: int = parse(arguments).run()
        if sys.stdout is not None:  # as it is where it was closed
            sys.stdout.flush()  # a disk that is full says so here, not when the process ends
        return code
    except InputError as reason:
        return _end(str(reason), 2)
    except FailedError as reason:
        return _end(str(reason), 1)
    except KeyboardInterrupt:
        return _end("stopped", 1)
    except BrokenPipeError:  # whoever read the results has seen enough, as `head` does
        _close_output()
        return 1
    except PermissionError as reason:
        return _end(f"{_named(reason)} is not allowed for this user ({reason.strerror}); mend the permissions", 2)
    except OSError as reason:
        if reason.errno == errno.ENAMETOOLONG:
            return _end(f"{shown(reason.filename)} is too long for a name of a file; name another", 2)
        if reason.errno not in _OF_DISKS:
            raise  # something else than a disk, of which the trace tells
        if reason.filename is None:
            _close_output()
        return _end(f"{_named(reason)} failed ({reason.strerror}); look after the disk and try again", 1)
    finally:
        package.removeHandler(handler)


# that a file is gone or in the way, and that a disk is full, failed or cannot be written
_OF_DISKS = (
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ESTALE),
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE),
)


def _end(words: str, code: int) -> int:
    print(printable(f"medmamba: {words}"), file=sys.stderr)
    return code


def _named(reason: OSError) -> str:
    """What failed; the system names no file where one was open already, as the output is."""
    return "reading or writing" if reason.filename is None else f"reading or writing {reason.filename}"


def _close_output() -> None:
    """What could not be written to standard output is not tried again when the process ends."""
    if (stream := sys.__stdout__) is not None and stream is sys.stdout:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


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
