"""The command line, called in this process; and which tests are the quick ones."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from napari_autostructn2v.cli import main

# Modules whose tests neither train, nor open a window, nor start a program.
QUICK = """
architecture batch config correlation docs events mask_file metadata model model_file
objectives outputs paths pool project_files refusals scenes sink source split
strangers_files structure_test synthetic tiles
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    quick = {Path(__file__).with_name(f"test_{name}.py") for name in QUICK.split()}
    assert all(path.exists() for path in quick)
    for item in items:
        if item.path in quick:
            item.add_marker(pytest.mark.quick)


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
