"""The one exception that is the user's to mend; everything else that is raised is a bug."""

from __future__ import annotations


class InputError(ValueError):
    """Bad usage, data or file, told in one sentence: what was wrong, its value, what to do."""


def first_line(error: BaseException) -> str:
    """Name an error that is no one's to expect; the rest of it is in its traceback."""
    text, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {text}".removesuffix(": ")
