"""How a command fails: one line on the standard error, and an exit code."""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback
from importlib import metadata
from typing import Any

import typer

from napari_autostructn2v.cli.terminal import BAD_INPUT, BUG, STOPPED, complain
from napari_autostructn2v.engine.errors import InputError, first_line

_USAGE_ERROR: Any = typer.BadParameter.__base__  # the one above it is not exported


def tell(error: BaseException, about: str = "") -> int:
    """Print why a command failed, or its part for the input `about`; return the exit code."""
    prefix = f"{about}: " if about else ""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return STOPPED
    if isinstance(error, InputError):
        return complain(f"{prefix}{error}")
    if isinstance(error, _USAGE_ERROR):
        return complain(error.format_message())
    if _is_out_of_memory(error):
        return complain(
            f"{prefix}out of memory; close other programs, or use smaller images or a machine "
            "with more"
        )
    if isinstance(error, OSError) and error.strerror:  # no permission, a full disk
        place = error.filename if isinstance(error.filename, str) else "the machine"
        return complain(f"{prefix}{place}: {error.strerror}")
    complain(f"{prefix}this is a bug, please report it{_written(error)}: {first_line(error)}")
    return BUG


def worst(codes: list[int]) -> int:
    """Return the exit code for several failures; a bug counts most."""
    return BUG if BUG in codes else BAD_INPUT


def _is_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from napari_autostructn2v.engine.devices import is_out_of_memory

    return is_out_of_memory(error)


def _written(error: BaseException) -> str:
    """Write the traceback into a new temporary file and say where it is."""
    program = "napari-autostructn2v"
    about = (
        f"{program} {metadata.version(program)}, Python {platform.python_version()}, "
        f"{platform.platform()}\n{sys.argv}\n\n"
    )
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="autostructn2v-bug-", suffix=".txt", delete=False,
            encoding="utf-8", errors="backslashreplace",
        ) as file:  # fmt: skip
            file.write(about + "".join(traceback.format_exception(error)))
    except OSError:
        return ""
    return f" with {file.name}"
