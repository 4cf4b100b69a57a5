"""What the file formats share: an image opened for reading, and a file being written."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.io.metadata import Metadata
from napari_autostructn2v.engine.errors import InputError

LARGEST_BLOCK = 2**30  # bytes of a block (chunk or strip), which is decoded as a whole


@dataclass(frozen=True)
class Stored:
    """One image in a file: an array to read regions from, and its axes.

    `scene` is its name if the file holds several images; `set_files` lists the files if the image
    is spread over several. No file stays open between reads.
    """

    data: Any
    axes: str
    metadata: Metadata
    scene: str = ""
    set_files: tuple[Path, ...] = ()


def check_block(path: Path, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Refuse a file whose blocks are too large to be decoded.

    Raises
    ------
    InputError
        If a block of this shape takes more than `LARGEST_BLOCK`.
    """
    if (size := math.prod(shape) * dtype.itemsize) > LARGEST_BLOCK:
        raise InputError(
            f"{path} is stored in blocks of {size / 2**30:.3g} GiB, more than the "
            f"{LARGEST_BLOCK / 2**30:.0f} GiB that can be decoded at once; save it as a tiled TIFF "
            "or as Zarr in small chunks"
        )


class Mapped:
    """Uncompressed pixels of a file, memory-mapped anew for each region.

    A permanent map would count every pixel read so far as resident memory and keep the file open.
    """

    def __init__(
        self, path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...],
        order: Literal["C", "F"] = "C",
    ) -> None:  # fmt: skip
        self.shape, self.dtype = shape, dtype
        self._path, self._offset, self._order = path, offset, order

    def map(self, mode: Literal["r", "r+"] = "r") -> np.memmap[Any, np.dtype[Any]]:
        return np.memmap(self._path, self.dtype, mode, self._offset, self.shape, self._order)

    def __getitem__(self, index: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        return np.array(self.map()[index])


class Storage(Protocol):
    """A file of its final size, written region by region.

    `array` reads back what was written; its axis `k` is axis `order[k]` of the source.
    """

    array: Any
    order: tuple[int, ...]

    def write(self, index: tuple[int | slice, ...], values: npt.NDArray[Any]) -> None:
        """Write a region at `index` of `array`."""

    def finish(self, low: float, high: float) -> None:
        """Flush everything to disk and close the file; the values range from `low` to `high`."""

    def reopen(self, path: Path) -> None:
        """Make `array` read from the finished file, which was moved to `path`."""


def reserve(path: Path, start: int, length: int) -> None:
    """Allocate disk space for bytes that are still zero, so that a full disk raises here.

    Writing into a memory map of a sparse file would kill the process instead.

    Raises
    ------
    OSError
        ENOSPC or EDQUOT if there is not enough space.
    """
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), start, length)
            return
        file.seek(start)
        zeros = bytes(2**20)
        for done in range(0, length, len(zeros)):
            file.write(zeros[: length - done])
