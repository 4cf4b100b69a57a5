"""Checks output paths before any work, so that nothing is overwritten by mistake.

Commands, batches and sinks call this with all the paths that they know.
"""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.paths import LONGEST, length, user_path

SUFFIXES = (".tif", ".tiff", ".zarr")  # of results

_ROOM = 12  # bytes for what is appended to a name: `.partial-2`, `.old`, `.stopped.asn2v`


def check_outputs(
    results: Sequence[Path] = (),
    files: Sequence[Path] = (),
    experiments: Sequence[Path] = (),
    folders: Sequence[Path] = (),
    reads: Iterable[Path] = (),
    overwrite: bool = False,
) -> None:
    """Check, before any work is done, that all outputs can and may be written.

    Parameters
    ----------
    results
        Images: .tif, .tiff or .zarr.
    files
        All other single files.
    experiments
        Folders that must be new or empty: an experiment is never overwritten.
    folders
        Folders to which files are added.
    reads
        Every file and Zarr folder that is read.

    Raises
    ------
    InputError
        If two of them clash (see `refuse_clashes`), or one exists and `overwrite` is false, has
        an invalid name or cannot be written.
    """
    for path in (*results, *files, *experiments, *folders):
        _check_name(path)
    refuse_clashes([*results, *files, *experiments], reads, folders)
    for path in results:
        _check_result(path, overwrite)
    for path in files:
        _check_file(path, overwrite)
    for path in experiments:
        _check_experiment(path)
    for path in folders:
        if os.path.lexists(path) and not path.is_dir():
            raise InputError(f"{path} is not a folder; choose another name")
    for path in (*results, *files, *experiments, *folders):
        _check_writable(path)


def refuse_clashes(
    writes: Iterable[Path], reads: Iterable[Path] = (), folders: Iterable[Path] = ()
) -> None:
    """Refuse outputs that replace, contain or lie in an input or another output.

    `folders` are shared: other outputs and inputs may lie in them. Output names that differ only
    in case count as the same, as on many disks.
    """
    inputs: dict[tuple[int, int], Path] = {}
    above: dict[tuple[int, int], Path] = {}
    for path in reads:
        here, *parents = map(_identity, _upwards(path))
        inputs |= {here: path} if here else {}
        above |= {parent: path for parent in parents if parent}
    places = [(path, _upwards(path), True) for path in writes]
    places += [(path, _upwards(path), False) for path in folders]
    names: dict[str, Path] = {}
    for path, upwards, is_own in places:
        around = [place for place in map(_identity, upwards) if place]
        here = _identity(path)
        if hit := next((inputs[place] for place in around if place in inputs), None):
            how = "replace" if here and here in inputs else "lie in"
            raise InputError(f"{path} would {how} the input {hit}; choose another output")
        if is_own and here and here in above:
            raise InputError(f"{path} holds the input {above[here]}; choose another output")
        if is_own and (name := _one_name(upwards[0])) in names:
            raise InputError(f"two outputs would be written to {path}; give each its own name")
        names |= {name: path} if is_own else {}
    for path, upwards, is_own in places:
        around_it = map(_one_name, upwards[1:] if is_own else upwards)
        if hit := next((names[name] for name in around_it if name in names), None):
            raise InputError(f"{path} would lie in {hit}, another output; choose another place")


def _check_experiment(folder: Path) -> None:
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; name a new one")


def _check_result(path: Path, overwrite: bool) -> None:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path}: results are written as .tif or .zarr, not {suffix or 'without suffix'}"
        )
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise InputError(f"{path} exists; choose another name or --overwrite")
    of_its_kind = path.is_dir() and _is_disposable(path) if suffix == ".zarr" else path.is_file()
    if not of_its_kind:
        kind = "Zarr folder" if suffix == ".zarr" else "file"
        raise InputError(f"{path} is not a {kind} and is not overwritten; choose another name")


def _check_file(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file")
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"{path} exists; choose another name or --overwrite")
    if os.path.lexists(path) and not path.is_file():
        raise InputError(f"{path} is not a file and is not overwritten; choose another name")


def _check_name(path: Path) -> None:
    user_path(path)
    if (excess := length(path.name) + _ROOM - LONGEST) > 0:
        raise InputError(
            f"the name {path.name[:40]}... is {excess} bytes too long, as endings such as "
            "'.partial' may be added; choose a shorter one"
        )


def _check_writable(path: Path) -> None:
    folder = next(place for place in path.absolute().parents if os.path.lexists(place))
    try:
        with tempfile.TemporaryFile(dir=folder, prefix="."):
            pass
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error} ({folder})"
        ) from error


def _is_disposable(folder: Path) -> bool:
    marks = ("zarr.json", ".zarray", ".zgroup")
    return any((folder / mark).is_file() for mark in marks) or not any(folder.iterdir())


def _upwards(path: Path) -> list[Path]:
    """Return the path with links resolved, and its parent folders."""
    real = Path(os.path.realpath(path))
    return [real, *real.parents]


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode, the same for every name of a file; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _one_name(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()
