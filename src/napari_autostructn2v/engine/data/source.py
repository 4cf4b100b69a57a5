"""The interface for reading an image: named axes, and any region of any plane."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.arrays import chunks_of, number_dtype, whole_shape
from napari_autostructn2v.engine.data.io.axes import check_axes, default_axes
from napari_autostructn2v.engine.data.io.metadata import Metadata
from napari_autostructn2v.engine.data.planes import Planes
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.types import Array, Box, shape_of, whole

_MOST_PLANES = 2**20
_MOST_BYTES = 2**26  # size of an array that is passed to another process


class Source(Planes):
    """One image, read region by region.

    Files opened by `open_source` can be read from any thread; an array is as thread-safe as it is
    itself. Files are not kept open between reads.

    Attributes
    ----------
    name
        The layer's name, or the file's stem, with the name of the scene if there are several.
    path
        The file, if any.
    set_files
        All files of the set, if the image is stored in several.
    scene
        Identifies the image in a file with several.
    dtype
        The stored type.

    Raises
    ------
    InputError
        If axes, shape or dtype are not those of an image, or if it has over a million planes.
    """

    offset: float = 0.0  # subtracted from the grey values that are read

    def __init__(
        self,
        data: Any,
        axes: str,
        *,
        name: str,
        metadata: Metadata,
        path: Path | None = None,
        set_files: Sequence[Path] = (),
        scene: str = "",
    ) -> None:
        self.name = name
        self.scene = scene
        self.path = path
        self.set_files = tuple(set_files)
        shape = whole_shape(data, name)
        self.dtype = number_dtype(data, name)
        super().__init__(check_axes(axes, shape), shape)
        if self.planes > _MOST_PLANES:
            raise InputError(
                f"{name} has {self.planes:.3g} planes, more than the limit of {_MOST_PLANES}; crop "
                "it to the part to denoise"
            )
        self.metadata = metadata.limited_to(self.axes, self.channels)
        self._data = data

    @property
    def files(self) -> list[Path]:
        """All files the image is read from: its file and the others of its set."""
        return [path for path in (self.path, *self.set_files) if path is not None]

    @property
    def chunks(self) -> tuple[int, int] | None:
        """(height, width) of the stored chunks, as in `chunks_of`."""
        return chunks_of(self._data, self.axes)

    def read(self, plane: int, y: slice, x: slice) -> npt.NDArray[np.float32]:
        """Read a region as a new (Y, X) array; NaN and infinities are kept.

        Values too large for float32 become the largest float32, not infinity.

        Raises
        ------
        InputError
            If the data can't be read.
        """
        block = self.stored(plane, y, x)
        with np.errstate(over="ignore", invalid="ignore"):
            result = block.astype(np.float32, order="C")
        if block.dtype.kind == "f" and block.dtype.itemsize > result.itemsize:
            most = np.finfo(np.float32).max
            np.copyto(result, np.sign(result) * most, where=np.isinf(result) & np.isfinite(block))
        return result

    def stored(self, plane: int, y: slice, x: slice) -> Array:
        """Read a region, (Y, X), in the stored type."""
        block = self._stored(self.index(plane, y, x))
        return block.T if self.transposed else block

    def through(self, view: View, offset: float) -> Source:
        """Return the image through a view, which subtracts `offset` from its values."""
        seen = copy.copy(self)
        seen._data, seen.offset = _Seen(self, Through(view, offset)), offset
        return seen

    def crop(self, **spans: slice) -> Source:
        """Return a part as a source: `source.crop(Y=slice(100, 400), T=slice(3, 4))`.

        Nothing is read or copied. The part keeps all axes and can be read while this source is
        open. Spans are in pixels and clipped to the image.

        Raises
        ------
        InputError
            If the image has no such axis, or if the part is empty.
        """
        box = dict(zip(self.axes, whole(self.shape), strict=True))
        for axis, span in spans.items():
            if axis not in box:
                raise InputError(f"cannot crop {axis}: {self.name} has the axes {self.axes}")
            start, length = max(span.start or 0, 0), self.lengths[axis]
            stop = length if span.stop is None else min(span.stop, length)
            if stop <= start:
                raise InputError(
                    f"{axis} from {span.start} to {span.stop} is outside {self.name}, where {axis} "
                    f"has length {length}; choose a region inside the image"
                )
            box[axis] = start, stop
        about = self.metadata
        if "C" in spans:
            kept = slice(*box["C"])
            about = replace(
                about,
                channel_names=about.channel_names[kept],
                channel_colors=about.channel_colors[kept],
            )
        origin = {
            axis: start + box[axis][0] * about.pixel_size[axis]
            for axis, start in about.origin.items()
        }
        cropped = Source(
            _Part(self, Crop(tuple(box.values()))),
            self.axes,
            name=self.name,
            metadata=replace(about, origin=origin),
            path=self.path,
            set_files=self.set_files,
            scene=self.scene,
        )
        cropped.offset = self.offset
        return cropped

    def spec(self) -> SourceSpec:
        """Return how to open the image again, in this process or another.

        Raises
        ------
        InputError
            If the image is an array too large to pass to another process.
        """
        if isinstance(self._data, _Part | _Seen):
            spec = self._data.whole.spec()
            return replace(spec, steps=(*spec.steps, self._data.step))
        array = None
        if self.path is None:
            if (size := math.prod(self.shape) * self.dtype.itemsize) > _MOST_BYTES:
                raise InputError(
                    f"{self.name} is an array of {size / 2**20:.0f} MiB, but at most "
                    f"{_MOST_BYTES // 2**20} MiB can be passed to another process; save it to a "
                    "file and open that"
                )
            array = self._stored(tuple(slice(length) for length in self.shape))
        return SourceSpec(
            self.name, self.axes, self.metadata, self.path, self.set_files, self.scene, array
        )

    def close(self) -> None:
        """Prevent further reads if the image comes from a file; an array stays readable."""
        if self.path is not None:
            self._data = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        sizes = " ".join(f"{axis}={length}" for axis, length in self.lengths.items())
        return f"<Source {self.name!r} {sizes} {self.dtype}>"

    def _stored(self, index: tuple[int | slice, ...]) -> Array:
        if self._data is None:
            raise ValueError(f"{self.name} is closed")
        if isinstance(self._data, _Part | _Seen):  # raises its own errors
            return self._data[index]
        try:
            return np.asarray(self._data[index])
        except InputError:
            raise
        except MemoryError as error:
            raise InputError(
                f"{self.path or self.name} cannot be read at plane {self.plane(index)}: not enough "
                "memory for one block; close other programs, or save the image in smaller chunks"
            ) from error
        except Exception as error:  # decoders raise many types of errors for damaged data
            plane, reason = self.plane(index), _first_line(error)
            raise InputError(
                f"image {self.name!r} cannot be read at plane {plane} ({reason}); "
                "check that its data still exist, or open it again"
                if self.path is None
                else f"{self.path} cannot be read at plane {plane}: the file is damaged or "
                f"truncated ({reason})"
            ) from error


class View(ABC):
    """A transformation applied on reading, such as subtraction of an offset.

    A view doesn't hold the image, so that it can be sent to another process.
    """

    @abstractmethod
    def region(self, source: Source, plane: int, y: slice, x: slice) -> Array:
        """Return a (Y, X) region of a plane."""


@dataclass(frozen=True)
class Crop:
    """A part of an image: one span per axis."""

    box: Box


@dataclass(frozen=True)
class Through:
    """An image through a view that subtracts `offset`."""

    view: View
    offset: float


@dataclass(frozen=True, eq=False)
class SourceSpec:
    """How to open an image again with `opening.reopen`; can be pickled.

    Attributes
    ----------
    array
        The image itself, if it isn't stored in a file.
    steps
        Crops and views to apply, in order.
    """

    name: str
    axes: str
    metadata: Metadata
    path: Path | None
    set_files: tuple[Path, ...]
    scene: str
    array: Array | None = field(repr=False, compare=False)
    steps: tuple[Crop | Through, ...] = ()


class _Part:
    """A part of a source, indexed like an array."""

    def __init__(self, whole: Source, step: Crop) -> None:
        self.whole, self.step = whole, step
        self.shape, self.dtype = shape_of(step.box), whole.dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> Array:
        shifted: list[int | slice] = []
        for where, (first, end) in zip(index, self.step.box, strict=True):
            if isinstance(where, int):
                shifted.append(first + where)
            else:
                start, stop, _ = where.indices(end - first)
                shifted.append(slice(first + start, first + stop))
        return self.whole._stored(tuple(shifted))


class _Seen:
    """A source through a view, indexed like an array."""

    def __init__(self, whole: Source, step: Through) -> None:
        self.whole, self.step = whole, step
        self.shape, self.dtype = whole.shape, whole.dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> Array:
        y, x = (index[self.whole.axes.index(axis)] for axis in "YX")
        assert isinstance(y, slice)
        assert isinstance(x, slice)
        block = self.step.view.region(self.whole, self.whole.plane(index), y, x)
        return block.T if self.whole.transposed else block


def as_source(
    data: Any,
    axes: str | None = None,
    name: str = "image",
    metadata: Metadata | None = None,
) -> Source:
    """Return a `Source` for an array with 2 to 5 axes (numpy, dask, zarr ...) or a `Source`.

    By default, `axes` are YX, TYX, TZYX or TCZYX, according to their number.
    """
    if isinstance(data, Source):
        return data
    if not all(hasattr(data, trait) for trait in ("shape", "dtype", "__getitem__")):
        raise InputError(
            f"{name} is a {type(data).__name__}, not an array; pass an array with shape and dtype"
        )
    if axes is None:
        axes = default_axes(whole_shape(data, name))
    return Source(data, axes, name=name, metadata=metadata or Metadata())


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
