"""How a command ends that did not do its work: one line on the standard error, and an exit code."""

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
    """Say why a command, or its part `about` one input, failed; give the exit code for that."""
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
    if isinstance(error, OSError) and error.strerror:  # the machine's refusal
        place = error.filename if isinstance(error.filename, str) else "the machine"
        return complain(f"{prefix}{place}: {error.strerror}")
    complain(f"{prefix}this is a bug, please report it{_written(error)}: {first_line(error)}")
    return BUG


def worst(codes: list[int]) -> int:
    """The exit code of several failures: a bug hides behind no other."""
    return BUG if BUG in codes else BAD_INPUT


def _is_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from napari_autostructn2v.engine.devices import is_out_of_memory

    return is_out_of_memory(error)


def _written(error: BaseException) -> str:
    """Write the traceback into a new file among the temporary ones, and say where."""
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
