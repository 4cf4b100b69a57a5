"""Shape, type and chunks of array-like objects (numpy, dask, zarr, h5py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_autostructn2v.engine.errors import InputError


def chunks_of(data: Any, axes: str) -> tuple[int, int] | None:
    """Return (height, width) of an array's chunks, or None; 1 along a side that isn't chunked."""
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
    """Return the shape as integers; raise an InputError if it is empty or unknown."""
    try:
        shape = tuple(int(length) for length in data.shape)
    except (TypeError, ValueError):
        raise InputError(
            f"{name} has an unknown shape ({data.shape}); compute the array first"
        ) from None
    if 0 in shape:
        raise InputError(f"{name} is empty: its shape is {shape}")
    return shape


def number_dtype(data: Any, name: str) -> np.dtype[Any]:
    """Return the data type; raise an InputError if it isn't a real number."""
    try:
        dtype: np.dtype[Any] = np.dtype(data.dtype)
    except TypeError:
        raise InputError(
            f"{name} has the type {data.dtype}, which numpy doesn't know; convert it to a numpy "
            "array"
        ) from None
    if dtype.kind not in "buif":
        raise InputError(f"{name} has {dtype} values; convert them to real numbers")
    return dtype
