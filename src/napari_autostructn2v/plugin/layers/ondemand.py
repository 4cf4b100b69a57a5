"""Lazy arrays: napari reads them plane by plane, and nothing is copied or computed before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.errors import InputError

Index = int | slice
Key = Index | EllipsisType | tuple[Index | EllipsisType, ...]


class Window:
    """A part of an array of any kind, given by `spans` along some of its axes."""

    def __init__(self, array: Any, spans: Mapping[int, tuple[int, int]]) -> None:
        whole = [spans.get(axis, (0, int(length))) for axis, length in enumerate(array.shape)]
        self.array = array
        self.first = tuple(start for start, _ in whole)
        self.shape = tuple(stop - start for start, stop in whole)
        self.dtype = np.dtype(array.dtype)
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)

    def __getitem__(self, key: Key) -> npt.NDArray[Any]:
        inside = within(key, self.shape)
        return _read(
            self.array, tuple(_moved(k, n) for k, n in zip(inside, self.first, strict=True))
        )

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=bool(copy))


class Part(Window):
    """The first `stop` positions along one axis of an array of any kind."""

    def __init__(self, array: Any, axis: int, stop: int) -> None:
        super().__init__(array, {axis: (0, stop)})


class Difference:
    """The difference of two arrays of the same shape, as float32.

    It is computed on each read, so it is always up to date.
    """

    def __init__(self, array: Any, other: Any) -> None:
        self._array, self._other = array, other
        self.shape = tuple(map(int, array.shape))
        self.dtype = np.dtype(np.float32)
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)

    def __getitem__(self, key: Key) -> npt.NDArray[np.float32]:
        key = within(key, self.shape)
        first, second = _read(self._array, key), _read(self._other, key)
        return np.asarray(np.subtract(first, second, dtype=np.float32))

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=bool(copy))


def _read(array: Any, key: tuple[Index, ...]) -> npt.NDArray[Any]:
    try:
        return np.asarray(array[key])
    except (InputError, MemoryError):
        raise
    except Exception as error:  # arrays on disk or on a server raise many types of errors
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"the image cannot be read ({reason}); "
            "check that its data still exist, or open it again"
        ) from error


class Turned:
    """An array with permuted axes: axis k of `array` is axis `order[k]` of this one."""

    def __init__(self, array: Any, order: Sequence[int]) -> None:
        self._array, self._order = array, tuple(order)
        self.shape = tuple(int(array.shape[self._order.index(axis)]) for axis in sorted(order))
        self.dtype = np.dtype(array.dtype)
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)

    def __getitem__(self, key: Key) -> npt.NDArray[Any]:
        inside = within(key, self.shape)
        values = np.asarray(self._array[tuple(inside[axis] for axis in self._order)])
        left = [axis for axis in self._order if isinstance(inside[axis], slice)]
        return values.transpose([left.index(axis) for axis in sorted(left)])

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=bool(copy))


def within(key: Key, shape: tuple[int, ...]) -> tuple[Index, ...]:
    """Return the full index for one of integers, slices and an ellipsis, clipped to `shape`.

    >>> within((0, slice(None)), (2, 3, 4))
    (0, slice(0, 3, 1), slice(0, 4, 1))
    >>> within((..., -1), (2, 3))
    (slice(0, 2, 1), 2)
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis not in keys:
        keys.append(Ellipsis)
    gap = keys.index(Ellipsis)
    keys[gap : gap + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    return tuple(_bounded(k, length) for k, length in zip(keys, shape, strict=True))


def _moved(key: Index, by: int) -> Index:
    if isinstance(key, int):
        return key + by
    stop = None if key.stop is None and by == 0 else (-1 if key.stop is None else key.stop) + by
    return slice(key.start + by, stop, key.step)


def _bounded(key: Any, length: int) -> Index:
    if isinstance(key, slice):
        start, stop, step = key.indices(length)
        return slice(start, None if stop < 0 else stop, step)
    index = int(key)
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of bounds for an axis of {length}")
    return index % length
