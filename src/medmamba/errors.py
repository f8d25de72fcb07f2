"""The kinds of error that the command line knows, and words for any."""

LONGEST = 80  # characters of a value in a message


class InputError(ValueError):
    """Something that was given cannot be used.

    The message is one sentence: what came, what was expected, what to do. The command line prints it and exits with
    code 2, before anything was started or written.
    """


class TooLargeError(InputError):
    """An image has more pixels than are allowed; it was not decoded."""


class FailedError(RuntimeError):
    """Something that had begun and did not succeed. The message says what is left of it; the exit code is 1."""


def suggest(word: str, options: "list[str] | tuple[str, ...]") -> str:
    """`; did you mean 'x'?` when one of `options` is close to `word`, else an empty string."""
    import difflib

    close = difflib.get_close_matches(word, options, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(value: object) -> str:
    """A value as Python writes it, cut after 80 characters, for a message about a value that may be anything."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no whole number of more than 4300 digits
        return "(too long to be written)"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def one_line(reason: BaseException) -> str:
    """Kind and first line of an error."""
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
    return f"{type(reason).__name__}: {lines[0]}" if lines else type(reason).__name__
