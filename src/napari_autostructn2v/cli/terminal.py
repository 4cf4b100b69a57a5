"""Printing that can't end a run.

The terminal may be closed, its output redirected to a full disk, or its encoding may lack
letters; and names from a file may hold control characters.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from rich.console import Console
from rich.text import Text

DONE, BUG, BAD_INPUT, STOPPED = 0, 1, 2, 130
_LONGEST = 2000  # characters of a complaint


def plain(text: object) -> str:
    r"""Escape control characters, such as those that move the cursor or reverse the text.

    >>> plain("a\x1b[31m\nb\u202ec")
    'a\\x1b[31m\\nb\\u202ec'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def shown(text: object, style: str = "") -> Text:
    return Text(plain(text), style)


def console() -> Console:
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = 160  # output to a file needn't wrap
    return made


def say(text: object) -> None:
    console().print(shown(text), soft_wrap=True)


def complain(message: object) -> int:
    """Print an error that the user can mend in one line; return its exit code."""
    text = plain(message)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    print(f"autostructn2v: {text}", file=sys.stderr)
    return BAD_INPUT


@contextmanager
def outlets() -> Iterator[None]:
    """Ignore failed writes to the terminal, and keep libraries from printing warnings and logs."""
    for number in (0, 1, 2):  # a closed one would become the number of the next file opened
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    hooks = threading.excepthook, sys.unraisablehook
    sys.stdout, sys.stderr = _Outlet(sys.stdout), _Outlet(sys.stderr)
    threading.excepthook = sys.unraisablehook = _ignore
    ours = _Complaints()
    logging.getLogger().addHandler(ours)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger().removeHandler(ours)
        sys.stdout, sys.stderr = before
        threading.excepthook, sys.unraisablehook = hooks


def _ignore(_: object) -> None:
    """Ignore an error in a library's thread; it is raised again where the result is used."""


class _Outlet(io.TextIOBase):
    """A stream that drops all text once a write has failed."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        if self._stream is not None:
            known = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
            try:
                self._stream.write(known)
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up(self._stream)
        return len(text)

    def _give_up(self, stream: TextIO) -> None:
        """Discard the rest, including what Python flushes at exit."""
        self._stream = None
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


class _Complaints(logging.Handler):
    """Prints this package's warnings, one line each; what libraries log is not shown."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("napari_autostructn2v") and record.levelno >= logging.WARNING:
            complain(record.getMessage())
