"""A result file: filled under a hidden name beside its final path, renamed once complete."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.files import free_name, hidden, remove, replace
from napari_autostructn2v.engine.data.io.ome_zarr import ZarrStorage
from napari_autostructn2v.engine.data.io.storage import Storage
from napari_autostructn2v.engine.data.io.target import place
from napari_autostructn2v.engine.data.io.tiff import TiffStorage
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.types import Box


class FileTarget:
    """A `Target` that writes one result file.

    If the file had to be kept under another name than `path`, its path is added to `kept`.
    """

    def __init__(
        self, path: Path, source: Source, dtype: np.dtype[Any], overwrite: bool,
        kept: list[Path] | None = None,
    ) -> None:  # fmt: skip
        self.path, self._source, self._overwrite = path, source, overwrite
        self._dtype = dtype
        self._kept = [] if kept is None else kept
        self._temporary = path
        self._needed = math.prod(source.shape) * dtype.itemsize
        self._low, self._high = math.inf, -math.inf
        self._open, self._written = True, False
        self._made = [folder for folder in path.parents if not folder.exists()]
        ome = ".ome" in (suffix.lower() for suffix in path.suffixes)
        kind = ZarrStorage if path.suffix.lower() == ".zarr" else partial(TiffStorage, ome=ome)
        try:
            with self._disk():
                self._temporary = hidden(path)
                if shutil.disk_usage(path.parent).free < self._needed:
                    raise OSError(errno.ENOSPC, "disk full")
                self._storage: Storage = kind(
                    self._temporary, source.axes, source.shape, dtype, source.metadata, source.name
                )
        except BaseException:
            self.discard()
            raise
        self._marks = [self._temporary, *self._temporary.glob("**/zarr.json")]
        self.axes = "".join(source.axes[k] for k in self._storage.order)

    @property
    def array(self) -> Any:
        return self._storage.array

    def write(self, plane: int, region: Box, block: npt.NDArray[np.float32]) -> None:
        if not self._open:
            raise ValueError(f"{self.path} is complete")
        index, values = place(self._source, self.axes, self._dtype, plane, region, block)
        with self._disk():
            self._check_intact()
            self._storage.write(index, values)
        self._written = True
        if (finite := values[np.isfinite(values)]).size:
            self._low = min(self._low, float(finite.min()))
            self._high = max(self._high, float(finite.max()))

    def commit(self) -> None:
        if not self._open:
            return
        mark = ".partial"
        try:
            with self._disk():
                self._finish()
                mark = ""
                if os.path.lexists(self.path) and not self._overwrite:
                    raise InputError(f"{self.path} was created meanwhile and is not overwritten")
                replace(self._temporary, self.path)
        except InputError as error:
            if (kept := self._keep(mark)) is None:
                raise
            raise InputError(f"{error}; the result is kept as {kept}") from error
        self._settle(self.path)

    def keep_partial(self) -> Path | None:
        if self._open and not self._written:
            self.discard()
        if not self._open:
            return None
        with suppress(InputError), self._disk():
            self._finish()
        return self._keep(".partial")

    def discard(self) -> None:
        if not self._open:
            return
        self._open = False
        if hasattr(self, "_storage"):
            self._storage.array = None
        if self._temporary != self.path:
            remove(self._temporary)
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()

    def _finish(self) -> None:
        self._check_intact()
        low, high = (self._low, self._high) if self._low <= self._high else (0.0, 1.0)
        self._storage.finish(low, high)
        self._check_intact()

    def _check_intact(self) -> None:
        """Refuse to write once the folder is gone: Zarr would make it anew, without the rest."""
        if not all(mark.exists() for mark in self._marks):
            self.discard()
            raise InputError(f"{self.path} cannot be written: its folder was removed meanwhile")

    def _keep(self, mark: str) -> Path | None:
        """Rename what was written to a visible, free name, if possible."""
        if not self._open:
            return None
        path = free_name(self.path, mark)
        try:
            os.replace(self._temporary, path)
        except OSError:
            path = self._temporary
        self._settle(path)
        self._kept.append(path)
        return path

    def _settle(self, path: Path) -> None:
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
