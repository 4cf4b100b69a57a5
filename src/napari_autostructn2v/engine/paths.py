"""What a user calls a file: a name that a disk can have, and a file that can be read at once."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from napari_autostructn2v.engine.errors import InputError

LONGEST = 255  # of a name: bytes, on Windows characters
_LONGEST_PATH = 3840  # bytes, of the 4096 there are: files inside a Zarr folder have longer ones
_ALREADY_OPEN = (Path("/dev/stdin"), Path("/dev/fd"))  # what a shell hands over by name


def length(name: str) -> int:
    """The length of a file's name as the disk counts it."""
    return len(name.encode("utf-16-le")) // 2 if os.name == "nt" else len(os.fsencode(name))


def user_path(text: str | Path) -> Path:
    """Give the path that is meant; a leading `~` is the user's folder. The disk isn't looked at.

    Raises
    ------
    InputError
        If no disk has such a name.
    """
    path = Path(text)
    with suppress(RuntimeError):  # no such user: a name like any other
        path = path.expanduser()
    try:
        longest = max((length(part) for part in path.parts), default=0)
        if "\0" in str(path):
            raise ValueError
    except ValueError:
        raise InputError(f"{str(text)!r} is no name of a file; give another") from None
    if longest > LONGEST:
        part = next(part for part in path.parts if length(part) > LONGEST)
        raise InputError(
            f"the name {part[:40]}... has {longest} bytes, and no file's has more than {LONGEST}; "
            "give one path, or a shorter name"
        )
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise InputError(f"the path {str(path)[:40]}... is too long; choose a place higher up")
    return path


def real_path(path: Path) -> Path:
    """The path without links; of a loop of links, as far as it can be told."""
    return Path(os.path.realpath(path))


def regular_file(path: str | Path, what: str) -> Path:
    """Give the path of a file that can be read without waiting for another program.

    What the shell has opened already, as `/dev/stdin` or `<(...)`, will do.

    Raises
    ------
    InputError
        If there is none, or it is a folder, a pipe, a socket or a device.
    """
    path = user_path(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise InputError(f"{what} {path} does not exist") from error
        raise InputError(f"{what} {path} cannot be read: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{what} {path} is a folder; name a file")
    if not (stat.S_ISREG(mode) or path in _ALREADY_OPEN or path.parent in _ALREADY_OPEN):
        raise InputError(f"{what} {path} is a pipe, a socket or a device; name a file")
    return path
