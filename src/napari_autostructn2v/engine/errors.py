"""The exception for errors that the user can correct; any other exception is a bug."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_SHOWN = 5  # errors in one message
_LONGEST = 300  # characters of another library's message, which may quote a whole file


class InputError(ValueError):
    """Bad usage, data or file; the message is one sentence with the value and what to do."""


class DenoisingWarning(UserWarning):
    """Something the user should know about a result that was made nonetheless."""


def first_line(error: BaseException) -> str:
    """Return the type of an unexpected error and the first line of its message."""
    text, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {text[:_LONGEST]}".removesuffix(": ")


def explain(error: ValidationError) -> str:
    """Turn a pydantic error into one sentence that lists the first few problems."""
    parts = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(f"unknown key {_key(where)!r}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            value = "" if item["type"] == "value_error" else f" (got {reprlib.repr(item['input'])})"
            parts.append(f"{_key(where)}: {message}{value}" if where else message + value)
    more = f"; and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return "config: " + "; ".join(parts[:_SHOWN]) + more


def _key(where: str) -> str:
    return where if len(where) <= 80 else f"{where[:80]}..."
