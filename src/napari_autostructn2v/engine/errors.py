"""The one exception that is the user's to mend, everything else that is raised being a bug."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_TOLD = 5  # errors in one sentence
_LONGEST = 300  # characters of another program's words, which may hold the whole of a file


class InputError(ValueError):
    """Bad usage, data or file, told in one sentence: what was wrong, its value, what to do."""


class DenoisingWarning(UserWarning):
    """What a user should know of a result that was made all the same."""


def first_line(error: BaseException) -> str:
    """Name an error that is no one's to expect; the rest of it is in its traceback."""
    text, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {text[:_LONGEST]}".removesuffix(": ")


def explain(error: ValidationError) -> str:
    """Turn a pydantic report into one sentence a user can act on, however much is wrong."""
    parts = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(f"unknown key {_key(where)!r}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            value = "" if item["type"] == "value_error" else f" (got {reprlib.repr(item['input'])})"
            parts.append(f"{_key(where)}: {message}{value}" if where else message + value)
    more = f"; and {len(parts) - _TOLD} more" if len(parts) > _TOLD else ""
    return "config: " + "; ".join(parts[:_TOLD]) + more


def _key(where: str) -> str:
    return where if len(where) <= 80 else f"{where[:80]}..."
