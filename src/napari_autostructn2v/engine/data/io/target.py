"""One result image: how a denoised block finds its place and type in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.types import Array, Box, shape_of, slices


class Target(Protocol):
    """One result image while it fills; the planes are numbered as in its source.

    `array` can be shown meanwhile. Its axes are the source's, in the source's order, except in
    an OME-Zarr file, whose order is TCZYX: `axes` names them with the source's letters.
    """

    axes: str

    @property
    def array(self) -> Any: ...

    def write(self, plane: int, region: Box, block: npt.NDArray[np.float32]) -> None:
        """Write a (Y, X) block; integer types are rounded half to even, saturated, NaN is 0."""

    def commit(self) -> None:
        """Take the result as complete: a file gets its final name."""

    def discard(self) -> None:
        """Leave nothing behind; without effect after `commit` or `keep_partial`."""

    def keep_partial(self) -> Path | None:
        """Keep what was written of a file beside its final name; pixels not reached are 0."""


def cast(block: npt.NDArray[np.float32], dtype: npt.DTypeLike) -> Array:
    """Bring to `dtype`; integers are rounded half to even and saturated, NaN becomes 0."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "ui":
        with np.errstate(over="ignore"):
            return block.astype(dtype)
    limits = np.iinfo(dtype)
    # Compared before casting: the largest integers have no float32 of their own.
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
    """Give index and values of a (Y, X) block for an array of `dtype` whose axes are `axes`."""
    if block.shape != shape_of(region):
        raise ValueError(f"block of shape {block.shape} for region {region}")
    where = dict(zip(source.axes, source.index(plane, *slices(region)), strict=True))
    values = cast(block, dtype)
    flipped = axes.index("X") < axes.index("Y")
    return tuple(where[axis] for axis in axes), values.T if flipped else values
