"""Writes files so that they are whole or not there, under hidden names until they are."""

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
_PROCESS = secrets.token_hex(4)  # a number alone may have been a dead process's before
_count = itertools.count()


def hidden(path: Path) -> Path:
    """Give a hidden name beside `path` that is nobody else's, and clear what the dead have left.

    The folder is made if it is missing. The name tells machine and process, so that a later run
    knows what no process works on any more.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # a folder that can be written but not listed
        for left in filter(_is_dead, os.listdir(path.parent)):
            remove(path.parent / left)
    name = f".autostructn2v-{_machine()}-{os.getpid()}-{_PROCESS}-{next(_count)}.part"
    return path.with_name(name)


def _is_dead(name: str) -> bool:
    """Whether a hidden name is that of a process of this machine which has ended."""
    found = _HIDDEN.fullmatch(name)
    if found is None or found[1] != _machine():
        return False
    pid = int(found[2])
    return found[3] != _PROCESS if pid == os.getpid() else not psutil.pid_exists(pid)


def _machine() -> str:
    """Where a process's number means something: the computer, and the container on it."""
    space = ""
    with suppress(OSError, AttributeError):
        space = os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"


def free_name(path: Path, mark: str = "") -> Path:
    """Give the first that does not exist of a.mark.tif, a.mark-2.tif, ... for a.tif."""
    numbers = ("" if number == 1 else f"-{number}" for number in itertools.count(1))
    names = (path.with_name(f"{path.stem}{mark}{number}{path.suffix}") for number in numbers)
    return next(name for name in names if not os.path.lexists(name))


def replace(part: Path, path: Path) -> None:
    """Give a finished file or folder its name; an old folder steps aside under a visible one.

    A file never takes the place of a folder.
    """
    if not (part.is_dir() and path.is_dir()):
        os.replace(part, path)
        return
    aside = free_name(path, ".old")
    os.replace(path, aside)
    try:
        os.replace(part, path)
    except OSError:
        with suppress(OSError):  # another run was faster: then both old ones can be seen
            os.replace(aside, path)
        raise
    doomed = hidden(path)
    os.replace(aside, doomed)
    remove(doomed)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Give a hidden name beside `path`; what is written there takes its name at the end.

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
    """Write JSON; NaN and infinities, which it does not know, become null."""
    with beside(path) as part:
        part.write_text(json.dumps(_finite(values), indent=1) + "\n", encoding="utf-8")


def write_tiff(path: Path, image: Any, software: str = SOFTWARE) -> None:
    """Write an array; unless it is an image to be denoised, it is marked as written here."""
    with beside(path) as part:
        tifffile.imwrite(part, image, software=software)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
