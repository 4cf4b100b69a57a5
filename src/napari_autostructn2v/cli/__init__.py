"""The command line `autostructn2v` (demo, run, analyse, denoise, info), on the headless API alone.

What takes long to import is imported inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer

from napari_autostructn2v.cli.commands import analyse, demo, denoise, info, run
from napari_autostructn2v.cli.display import DONE, STOPPED, complain
from napari_autostructn2v.engine.errors import InputError

# What the machine refuses is the user's to mend, and told in one line.
_REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_USAGE_ERROR: Any = typer.BadParameter.__base__  # the one above it is not exported

app = typer.Typer(
    help="Removes structured noise from microscopy images by self-supervised learning.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, run, analyse, denoise, info):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 a bug, 2 bad usage or input, 130 stopped."""
    try:
        code = app(arguments, standalone_mode=False, prog_name="autostructn2v")
    except InputError as error:
        code = complain(error)
    except _USAGE_ERROR as error:
        code = complain(error.format_message())
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        code = complain(f"{error.filename or 'the output'}: {error.strerror}")
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    sys.exit(code or DONE)
