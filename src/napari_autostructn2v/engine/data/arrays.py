"""What an array of any kind (numpy, dask, zarr, h5py) says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_autostructn2v.engine.errors import InputError


def chunks_of(data: Any, axes: str) -> tuple[int, int] | None:
    """(height, width) of an array's chunks (zarr, dask, h5py), 1 where one is all; or None."""
    chunks = getattr(data, "chunks", None)
    if not chunks or len(chunks) != len(axes):
        return None
    sides = []
    for axis in "YX":
        chunk, length = chunks[axes.index(axis)], data.shape[axes.index(axis)]
        side = int(chunk[0] if isinstance(chunk, tuple) else chunk)  # dask's may be irregular
        sides.append(side if side < length else 1)
    return sides[0], sides[1]


def whole_shape(data: Any, name: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(length) for length in data.shape)
    except (TypeError, ValueError):
        raise InputError(f"{name} has no definite shape ({data.shape}); compute it first") from None
    if 0 in shape:
        raise InputError(f"{name} is empty: its shape is {shape}")
    return shape


def number_dtype(data: Any, name: str) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(data.dtype)
    except TypeError:
        raise InputError(
            f"{name} holds {data.dtype}, which is not a numpy type; convert it to a numpy array"
        ) from None
    if dtype.kind not in "buif":
        raise InputError(f"{name} holds {dtype} values; convert them to real numbers")
    return dtype
