"""What the file formats have in common: an opened file, and a file that is being filled."""

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

LARGEST_BLOCK = 2**30  # bytes that are decoded at once


@dataclass(frozen=True)
class Stored:
    """One image of a file: an array to read regions from, and its axes.

    `scene` tells it from the others of the file, if there are any; `set_files` are those of the
    set that it is read from, if these are several. No file is held open between readings.
    """

    data: Any
    axes: str
    metadata: Metadata
    scene: str = ""
    set_files: tuple[Path, ...] = ()


def check_block(path: Path, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Refuse pixels that can only be decoded together and are too many for that.

    Raises
    ------
    InputError
        If they take more than `LARGEST_BLOCK`.
    """
    if (size := math.prod(shape) * dtype.itemsize) > LARGEST_BLOCK:
        raise InputError(
            f"{path} is stored in blocks of {size / 2**30:.3g} GiB, each of which is decoded at "
            f"once, and {LARGEST_BLOCK / 2**30:.0f} GiB is the limit; save it as a tiled TIFF "
            "or as Zarr in small chunks"
        )


class Mapped:
    """Pixels that lie in a file as in memory, mapped anew for each region.

    A lasting map would count every pixel touched so far as resident memory, and hold the file.
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
    """A file of its final size, filled region by region.

    `array` gives what was written; its axis `k` is axis `order[k]` of the source.
    """

    array: Any
    order: tuple[int, ...]

    def write(self, index: tuple[int | slice, ...], values: npt.NDArray[Any]) -> None:
        """Write a region, where `index` is one into `array`."""

    def finish(self, low: float, high: float) -> None:
        """Bring everything to disk and let go of the file; the values written were low..high."""

    def reopen(self, path: Path) -> None:
        """Make `array` the finished file, which was moved to `path`, to be read only."""


def reserve(path: Path, start: int, length: int) -> None:
    """Claim disk space for bytes that are still zero, so that a full disk is met here.

    Writing into a memory map of a file with holes would kill the process instead.

    Raises
    ------
    OSError
        ENOSPC or EDQUOT if there is not enough.
    """
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), start, length)
            return
        file.seek(start)
        zeros = bytes(2**20)
        for done in range(0, length, len(zeros)):
            file.write(zeros[: length - done])
