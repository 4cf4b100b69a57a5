"""Checks paths given by the user: names that a disk can hold, files that can be read."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from napari_autostructn2v.engine.errors import InputError

LONGEST = 255  # bytes of a name; on Windows UTF-16 characters
_LONGEST_PATH = 3840  # bytes; of the 4096 allowed, some are left for the files in a Zarr folder
_ALREADY_OPEN = (Path("/dev/stdin"), Path("/dev/fd"))  # paths that a shell passes


def length(name: str) -> int:
    """Return the length of a file name as the disk counts it."""
    return len(name.encode("utf-16-le")) // 2 if os.name == "nt" else len(os.fsencode(name))


def user_path(text: str | Path) -> Path:
    """Return a path with a leading `~` expanded, without accessing the disk.

    Raises
    ------
    InputError
        If the path is too long or has characters that no file name can have.
    """
    path = Path(text)
    with suppress(RuntimeError):  # no such user: keep it as a plain name
        path = path.expanduser()
    try:
        longest = max((length(part) for part in path.parts), default=0)
        if "\0" in str(path):
            raise ValueError
    except ValueError:
        raise InputError(f"{str(text)!r} is not a valid file name; choose another") from None
    if longest > LONGEST:
        part = next(part for part in path.parts if length(part) > LONGEST)
        raise InputError(
            f"the name {part[:40]}... has {longest} bytes, more than the {LONGEST} allowed; "
            "give one path, or a shorter name"
        )
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise InputError(f"the path {str(path)[:40]}... is too long; choose a shorter one")
    return path


def real_path(path: Path) -> Path:
    """Return the path with links resolved, as far as possible if they form a loop."""
    return Path(os.path.realpath(path))


def regular_file(path: str | Path, what: str) -> Path:
    """Check that a path is a file that can be read without waiting for another program.

    Files that the shell has opened, such as `/dev/stdin` or `<(...)`, are accepted. `what` names
    the file in messages.

    Raises
    ------
    InputError
        If there is no such file, or it is a folder, a pipe, a socket or a device.
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
