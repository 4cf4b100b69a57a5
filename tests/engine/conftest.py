"""The command line, called in this process."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from napari_autostructn2v.cli import main


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def cli() -> Callable[[Path, str], Ended]:
    """Call the command line in a folder; give its exit code and what it wrote to each stream."""

    def call(folder: Path, line: str) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as end,
        ):
            main(shlex.split(line))
        return Ended(int(end.value.code or 0), out.getvalue(), err.getvalue())

    return call
