"""A result file: filled under a hidden name beside its final place, renamed once complete."""

from __future__ import annotations

import errno
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.io.ome_zarr import ZarrStorage
from napari_autostructn2v.engine.io.storage import Storage
from napari_autostructn2v.engine.io.target import Region, place
from napari_autostructn2v.engine.io.tiff import TiffStorage
from napari_autostructn2v.engine.source import Source

SUFFIXES = (".tif", ".tiff", ".zarr")


class FileTarget:
    def __init__(self, path: Path, source: Source, dtype: np.dtype[Any], overwrite: bool) -> None:
        self.path, self._source, self._overwrite = path, source, overwrite
        self._dtype = dtype
        self._temporary = _hidden(path)
        self._needed = math.prod(source.shape) * dtype.itemsize
        self._low, self._high = math.inf, -math.inf
        self._open, self._written = True, False
        self._made = [folder for folder in path.parents if not folder.exists()]
        kind = ZarrStorage if path.suffix.lower() == ".zarr" else TiffStorage
        try:
            with self._disk():
                path.parent.mkdir(parents=True, exist_ok=True)
                if shutil.disk_usage(path.parent).free < self._needed:
                    raise OSError(errno.ENOSPC, "disk full")
                self._storage: Storage = kind(
                    self._temporary, source.axes, source.shape, dtype, source.metadata, source.name
                )
        except BaseException:
            self.discard()
            raise
        self.axes = "".join(source.axes[k] for k in self._storage.order)

    @property
    def array(self) -> Any:
        return self._storage.array

    def write(self, plane: int, region: Region, block: npt.NDArray[np.float32]) -> None:
        if not self._open:
            raise ValueError(f"{self.path} is complete")
        index, values = place(self._source, self.axes, self._dtype, plane, region, block)
        with self._disk():
            self._storage.write(index, values)
        self._written = True
        if (finite := values[np.isfinite(values)]).size:
            self._low = min(self._low, float(finite.min()))
            self._high = max(self._high, float(finite.max()))

    def commit(self) -> None:
        if self._open:
            if os.path.lexists(self.path) and not self._overwrite:
                raise InputError(
                    f"{self.path} came into being meanwhile; remove it or choose --overwrite"
                )
            self._move(self.path)

    def keep_partial(self) -> Path | None:
        if not self._open:
            return None
        if not self._written:
            self.discard()
            return None
        path = self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")
        count = 1
        while os.path.lexists(path) and not self._overwrite:
            count += 1
            path = path.with_name(f"{self.path.stem}.partial-{count}{self.path.suffix}")
        self._move(path)
        return path

    def discard(self) -> None:
        if not self._open:
            return
        self._open = False
        if hasattr(self, "_storage"):
            self._storage.array = None
        _remove(self._temporary)
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()

    def _move(self, path: Path) -> None:
        low, high = (self._low, self._high) if self._low <= self._high else (0.0, 1.0)
        with self._disk():
            self._storage.finish(low, high)
            _replace(self._temporary, path)
            self._open = False
            self._storage.reopen(path)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise InputError(
                    f"disk full: {self.path} needs {self._needed} bytes; make room or choose "
                    "another place"
                ) from error
            raise InputError(f"{self.path} cannot be written: {error.strerror or error}") from error


def check_output(path: Path, overwrite: bool) -> None:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path}: results are written as .tif or .zarr, not {suffix or 'without suffix'}"
        )
    if os.path.lexists(path):
        if not overwrite:
            raise InputError(f"{path} exists; choose another name or --overwrite")
        if path.is_dir() != (suffix == ".zarr") or (path.is_dir() and not _is_disposable(path)):
            kind = "Zarr folder" if suffix == ".zarr" else "file"
            raise InputError(f"{path} is no {kind} and is not overwritten; choose another name")
    folder = next((parent for parent in path.absolute().parents if parent.exists()), path)
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


def refuse_inputs(paths: Iterable[Path], sources: Iterable[Source]) -> None:
    """Refuse outputs that would replace an input, lie in one, or hold one."""
    inputs = {source.path.resolve(): source.path for source in sources if source.path is not None}
    above = {folder: inputs[file] for file in inputs for folder in file.parents}
    # Different spellings of one file (links, letter case) are told by the file system.
    known = {_identity(file): inputs[file] for file in inputs if file.exists()}
    for path in paths:
        here = path.resolve()
        hit = next((inputs[place] for place in (here, *here.parents) if place in inputs), None)
        hit = hit or above.get(here) or (known.get(_identity(path)) if path.exists() else None)
        if hit is not None:
            raise InputError(f"{path} would replace the input {hit}; choose another output")


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _replace(temporary: Path, path: Path) -> None:
    """Give the finished file its name; an old folder is moved aside first, and back on failure."""
    if not path.is_dir():
        os.replace(temporary, path)
        return
    aside = _hidden(path)
    os.replace(path, aside)
    try:
        os.replace(temporary, path)
    except OSError:
        os.replace(aside, path)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
