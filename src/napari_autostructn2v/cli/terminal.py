"""Where text leaves for the terminal: whatever becomes of it there ends no run.

The other end may be closed, on a full disk, or know few letters, and what is told may come from a
stranger's file.
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
    r"""Show what would move the cursor, colour, or turn the reading direction as an escape.

    >>> plain("a\x1b[31m\nb\u202ec")
    'a\\x1b[31m\\nb\\u202ec'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def shown(text: object, style: str = "") -> Text:
    return Text(plain(text), style)


def console() -> Console:
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = 160  # no terminal to fit into
    return made


def say(text: object) -> None:
    console().print(shown(text), soft_wrap=True)


def complain(message: object) -> int:
    """Say in one line what the user can mend, and give the exit code for it."""
    text = plain(message)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    print(f"autostructn2v: {text}", file=sys.stderr)
    return BAD_INPUT


@contextmanager
def outlets() -> Iterator[None]:
    """Let what is printed, by whomever, go wrong without a word; and let only us print."""
    for number in (0, 1, 2):  # closed ones would be the numbers of the next files that are opened
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    hooks = threading.excepthook, sys.unraisablehook
    sys.stdout, sys.stderr = _Outlet(sys.stdout), _Outlet(sys.stderr)
    threading.excepthook = sys.unraisablehook = _leave
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


def _leave(_: object) -> None:
    """What goes wrong in a library's thread is raised once more where the thread is needed."""


class _Outlet(io.TextIOBase):
    """A stream that takes all text, and drops it once it can't be written."""

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
        """Send the rest nowhere; also what Python flushes at its end."""
        self._stream = None
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


class _Complaints(logging.Handler):
    """Tells our own warnings in one line each; what libraries log is not for the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("napari_autostructn2v") and record.levelno >= logging.WARNING:
            complain(record.getMessage())
