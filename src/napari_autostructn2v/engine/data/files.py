"""Writes files atomically: under a hidden name until they are complete."""

from __future__ import annotations

import itertools
import json
import math
import os
import platform
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import tifffile

from napari_autostructn2v.engine.data.io.mark import SOFTWARE
from napari_autostructn2v.engine.errors import InputError

_HIDDEN = re.compile(r"\.autostructn2v-([0-9a-f]{8})-(\d{1,10})-([0-9a-f]{8})-\d+\.part")
_PROCESS = secrets.token_hex(4)  # process ids are reused
_count = itertools.count()


def hidden(path: Path) -> Path:
    """Return a unique hidden path beside `path`, and remove the leftovers of ended processes.

    The folder is created if missing. The name contains machine and process, so that later runs
    can recognise abandoned files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # the folder may be writable but not readable
        for left in filter(_is_dead, os.listdir(path.parent)):
            remove(path.parent / left)
    name = f".autostructn2v-{_machine()}-{os.getpid()}-{_PROCESS}-{next(_count)}.part"
    return path.with_name(name)


def _is_dead(name: str) -> bool:
    """Whether a hidden name belongs to a process on this machine that has ended."""
    found = _HIDDEN.fullmatch(name)
    if found is None or found[1] != _machine():
        return False
    pid = int(found[2])
    return found[3] != _PROCESS if pid == os.getpid() else not psutil.pid_exists(pid)


def _machine() -> str:
    """Return a hash of the computer and the container, within which process ids are unique."""
    space = ""
    with suppress(OSError, AttributeError):
        space = os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"


def free_name(path: Path, mark: str = "") -> Path:
    """Return the first free name of a.mark.tif, a.mark-2.tif, ... for a.tif; `mark` has the dot."""
    numbers = ("" if number == 1 else f"-{number}" for number in itertools.count(1))
    names = (path.with_name(f"{path.stem}{mark}{number}{path.suffix}") for number in numbers)
    return next(name for name in names if not os.path.lexists(name))


def replace(part: Path, path: Path) -> None:
    """Move a finished file or folder to `path`, and replace what is there.

    A folder is first moved aside to a visible name, then removed. A file never replaces a folder.
    """
    if not (part.is_dir() and path.is_dir()):
        os.replace(part, path)
        return
    aside = free_name(path, ".old")
    os.replace(path, aside)
    try:
        os.replace(part, path)
    except OSError:
        with suppress(OSError):  # if another run was faster, both folders stay visible
            os.replace(aside, path)
        raise
    doomed = hidden(path)
    os.replace(aside, doomed)
    remove(doomed)


def remove(path: Path) -> None:
    """Remove a file or folder if possible; errors are ignored."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`; the file written there is renamed to `path` at the end.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        part = hidden(path)
        try:
            yield part
            replace(part, path)
        finally:
            remove(part)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON; NaN and infinities, which JSON lacks, become null."""
    with beside(path) as part:
        part.write_text(json.dumps(_finite(values), indent=1) + "\n", encoding="utf-8")


def write_tiff(path: Path, image: Any, software: str = SOFTWARE) -> None:
    """Write an array; by default it is marked as ours and skipped by folder searches."""
    with beside(path) as part:
        tifffile.imwrite(part, image, software=software)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
