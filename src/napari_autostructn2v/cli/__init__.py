"""The command line `autostructn2v`: demo, run, analyse, denoise, info.

Slow imports happen inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from napari_autostructn2v.cli.commands import analyse, demo, denoise, info, run
from napari_autostructn2v.cli.failures import tell
from napari_autostructn2v.cli.terminal import DONE, outlets

app = typer.Typer(
    help="Removes structured noise from microscopy images by self-supervised learning.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, run, analyse, denoise, info):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with 0 (done), 1 (bug), 2 (bad input) or 130 (stopped)."""
    with outlets():
        try:
            code = app(arguments, standalone_mode=False, prog_name="autostructn2v")
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - users see one line, not a traceback
            code = tell(error)
    sys.exit(code or DONE)
