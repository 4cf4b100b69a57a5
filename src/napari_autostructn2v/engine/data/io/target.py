"""One result image: the index and data type of the denoised blocks in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.types import Array, Box, shape_of, slices


class Target(Protocol):
    """One result image while it is written; its planes are numbered as in its source.

    `array` can be displayed meanwhile. `axes` names its axes with the source's letters, in the
    source's order, or TCZYX for an OME-Zarr file.
    """

    axes: str

    @property
    def array(self) -> Any: ...

    def write(self, plane: int, region: Box, block: npt.NDArray[np.float32]) -> None:
        """Write a (Y, X) block, converted by `cast`."""

    def commit(self) -> None:
        """Complete the result: a file gets its final name."""

    def discard(self) -> None:
        """Remove the result; no effect after `commit` or `keep_partial`."""

    def keep_partial(self) -> Path | None:
        """Keep an unfinished file beside its final name; pixels not written yet are 0."""


def cast(block: npt.NDArray[np.float32], dtype: npt.DTypeLike) -> Array:
    """Convert to `dtype`; integers are rounded half to even and saturated, NaN becomes 0."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "ui":
        with np.errstate(over="ignore"):
            return block.astype(dtype)
    limits = np.iinfo(dtype)
    # Compare before casting: float32 cannot hold the largest integers exactly.
    over, under = block >= float(limits.max), block <= float(limits.min)
    result: Array = np.where(over | under | np.isnan(block), 0, np.rint(block)).astype(dtype)
    result[over] = limits.max
    result[under] = limits.min
    return result


def place(
    source: Source,
    axes: str,
    dtype: npt.DTypeLike,
    plane: int,
    region: Box,
    block: npt.NDArray[np.float32],
) -> tuple[tuple[int | slice, ...], Array]:
    """Return index and values of a (Y, X) block in an array of `dtype` with these `axes`."""
    if block.shape != shape_of(region):
        raise ValueError(f"block of shape {block.shape} for region {region}")
    where = dict(zip(source.axes, source.index(plane, *slices(region)), strict=True))
    values = cast(block, dtype)
    flipped = axes.index("X") < axes.index("Y")
    return tuple(where[axis] for axis in axes), values.T if flipped else values
