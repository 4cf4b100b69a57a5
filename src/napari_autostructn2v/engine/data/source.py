"""One image as the engine sees it: named axes, and any region of any plane, never the whole."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.io.axes import check_axes, default_axes
from napari_autostructn2v.engine.data.io.metadata import Metadata
from napari_autostructn2v.engine.errors import InputError

_MOST_PLANES = 2**20


class Source:
    """One image, read region by region.

    Planes are numbered over the axes other than Y and X in stored order, the last of them
    running fastest. Reading is safe from any thread for files opened by `open_source`; for an
    array it is as safe as the array. No file is held open between readings.

    Attributes
    ----------
    name, path
        The file's stem, with the name of the scene if there are several, or the layer's name; the
        file, if it came from one.
    set_files, scene
        The files of the set, if it is read from several; what tells it from others in its file.
    axes, shape, dtype
        As stored; axes are letters of "STCZYX".
    size, planes, channels
        (height, width); number of 2-D planes; length of C, or 1.

    Raises
    ------
    InputError
        If axes, shape or dtype are not those of an image, or it has over a million planes.
    """

    offset: float = 0.0  # what is read is less this

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
        self.shape = _whole_shape(data, name)
        self.dtype = _number_dtype(data, name)
        self.axes = check_axes(axes, self.shape)
        self._lengths = dict(zip(self.axes, self.shape, strict=True))
        self._outer = tuple(axis for axis in self.axes if axis not in "YX")
        self.size = (self._lengths["Y"], self._lengths["X"])
        self.planes = math.prod(self._lengths[axis] for axis in self._outer)
        if self.planes > _MOST_PLANES:
            raise InputError(
                f"{name} declares {self.planes:.3g} planes, and {_MOST_PLANES} is the limit; pick "
                "the part to denoise"
            )
        self.channels = self._lengths.get("C", 1)
        self.metadata = metadata.limited_to(self.axes, self.channels)
        self._data = data

    @property
    def files(self) -> list[Path]:
        """All that is read: the file, and the others of its set."""
        return [path for path in (self.path, *self.set_files) if path is not None]

    @property
    def transposed(self) -> bool:
        """Whether X is stored before Y."""
        return self.axes.index("X") < self.axes.index("Y")

    @property
    def chunks(self) -> tuple[int, int] | None:
        """(height, width) of the blocks it is stored in, as `chunks_of` tells them."""
        return chunks_of(self._data, self.axes)

    def channel(self, plane: int) -> int:
        """Position of a plane along C; 0 without that axis."""
        return self._position(plane).get("C", 0)

    def plane_of(self, channel: int, k: int) -> int:
        """Number of the `k`th plane of a channel."""
        _, _, faster = "".join(self._outer).partition("C")
        inner = math.prod(self._lengths[axis] for axis in faster)
        before, after = divmod(k, inner)
        return (before * self.channels + channel) * inner + after

    def index(self, plane: int, y: slice, x: slice) -> tuple[int | slice, ...]:
        """Where a region of a plane lies in an array of `shape`, in stored order."""
        where: dict[str, int | slice] = {**self._position(plane), "Y": y, "X": x}
        return tuple(where[axis] for axis in self.axes)

    def read(self, plane: int, y: slice, x: slice) -> npt.NDArray[np.float32]:
        """Read a region as a new (Y, X) array; NaN and infinities are kept, and none are made.

        Raises
        ------
        InputError
            If it turns out to be damaged there.
        """
        block = self.stored(plane, y, x)
        with np.errstate(over="ignore", invalid="ignore"):
            result = block.astype(np.float32, order="C")
        if block.dtype.kind == "f" and block.dtype.itemsize > result.itemsize:
            most = np.finfo(np.float32).max
            np.copyto(result, np.sign(result) * most, where=np.isinf(result) & np.isfinite(block))
        return result

    def stored(self, plane: int, y: slice, x: slice) -> npt.NDArray[Any]:
        """The same in the type that it has."""
        block = self._stored(self.index(plane, y, x))
        return block.T if self.transposed else block

    def through(self, view: View, offset: float) -> Source:
        """The image as a view shows it, whose values are less `offset`."""
        seen = copy.copy(self)
        seen._data, seen.offset = view, offset
        return seen

    def crop(self, **spans: slice) -> Source:
        """Give a part as a source of its own: `source.crop(Y=slice(100, 400), T=slice(3, 4))`.

        Nothing is read or copied; all axes stay, and it can be read as long as this source is
        open. Spans are in pixels from the first one, and clipped to the image.

        Raises
        ------
        InputError
            If the image has no such axis, or nothing is left.
        """
        first = dict.fromkeys(self.axes, 0)
        lengths = dict(self._lengths)
        for axis, span in spans.items():
            if axis not in lengths:
                raise InputError(f"{self.name} has the axes {self.axes} and no {axis} to crop")
            first[axis] = max(span.start or 0, 0)
            stop = lengths[axis] if span.stop is None else min(span.stop, lengths[axis])
            lengths[axis] = stop - first[axis]
            if lengths[axis] < 1:
                raise InputError(
                    f"{axis} from {span.start} to {span.stop} lies outside {self.name}, whose "
                    f"{axis} has length {self._lengths[axis]}; choose a region inside it"
                )
        about = self.metadata
        if "C" in spans:
            kept = slice(first["C"], first["C"] + lengths["C"])
            about = replace(
                about,
                channel_names=about.channel_names[kept],
                channel_colors=about.channel_colors[kept],
            )
        origin = {
            axis: about.origin.get(axis, 0.0) + first[axis] * about.pixel_size[axis]
            for axis in first
            if axis in about.origin
        }
        part = _Part(self, tuple(first.values()), tuple(lengths.values()))
        cropped = Source(
            part,
            self.axes,
            name=self.name,
            metadata=replace(about, origin=origin),
            path=self.path,
            set_files=self.set_files,
            scene=self.scene,
        )
        cropped.offset = self.offset
        return cropped

    def close(self) -> None:
        """Let nothing be read from the file afterwards. An array is left alone."""
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
        sizes = " ".join(f"{axis}={length}" for axis, length in self._lengths.items())
        return f"<Source {self.name!r} {sizes} {self.dtype}>"

    def _stored(self, index: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        if self._data is None:
            raise ValueError(f"{self.name} is closed")
        if isinstance(self._data, _Part | View):  # the whole speaks of its own errors
            return self._data[index]
        try:
            return np.asarray(self._data[index])
        except InputError:
            raise
        except MemoryError as error:
            raise InputError(
                f"{self.path or self.name} cannot be read at plane {self.plane(index)}: a block "
                "of it takes more memory than there is; close other programs, or save it in "
                "smaller chunks"
            ) from error
        except Exception as error:  # decoders raise what they please on damaged data
            plane, reason = self.plane(index), _first_line(error)
            raise InputError(
                f"image {self.name!r} cannot be read at plane {plane} ({reason}); "
                "check that its data are still there, or open it again"
                if self.path is None
                else f"{self.path} cannot be read at plane {plane}: the file is damaged or "
                f"ends too early ({reason})"
            ) from error

    def plane(self, index: tuple[int | slice, ...]) -> int:
        """The number of the plane that an index lies in."""
        plane = 0
        for axis, where in zip(self.axes, index, strict=True):
            if isinstance(where, int):
                plane = plane * self._lengths[axis] + where
        return plane

    def _position(self, plane: int) -> dict[str, int]:
        if not 0 <= plane < self.planes:
            raise IndexError(f"plane {plane} of {self.planes}")
        position = {}
        for axis in reversed(self._outer):
            plane, position[axis] = divmod(plane, self._lengths[axis])
        return position


class _Part:
    """A part of a source, addressed like an array of its own."""

    def __init__(self, whole: Source, first: tuple[int, ...], shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, whole.dtype
        self._whole, self._first = whole, first

    def __getitem__(self, index: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        shifted: list[int | slice] = []
        for where, first, length in zip(index, self._first, self.shape, strict=True):
            if isinstance(where, int):
                shifted.append(first + where)
            else:
                start, stop, _ = where.indices(length)
                shifted.append(slice(first + start, first + stop))
        return self._whole._stored(tuple(shifted))


class View(ABC):
    """What another makes of a source, addressed like an array of its own."""

    def __init__(self, source: Source) -> None:
        self.source, self.shape, self.dtype = source, source.shape, source.dtype

    @abstractmethod
    def region(self, plane: int, y: slice, x: slice) -> npt.NDArray[Any]:
        """Give a (Y, X) region of a plane."""

    def __getitem__(self, index: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        y, x = (index[self.source.axes.index(axis)] for axis in "YX")
        assert isinstance(y, slice)
        assert isinstance(x, slice)
        block = self.region(self.source.plane(index), y, x)
        return block.T if self.source.transposed else block

    def around(
        self, plane: int, y: slice, x: slice, halo: int
    ) -> tuple[npt.NDArray[np.float32], tuple[slice, slice], tuple[int, int]]:
        """Read a region with a halo: the block, the region in it, and where its corner lies."""
        wanted, read = [], []
        for span, length in zip((y, x), self.source.size, strict=True):
            start, stop, _ = span.indices(length)
            first = max(start - halo, 0)
            read.append(slice(first, min(stop + halo, length)))
            wanted.append(slice(start - first, stop - first))
        block = self.source.read(plane, *read)
        return block, (wanted[0], wanted[1]), (read[0].start, read[1].start)


def as_source(
    data: Any,
    axes: str | None = None,
    name: str = "image",
    metadata: Metadata | None = None,
) -> Source:
    """Make a `Source` of any array of 2 to 5 axes (numpy, dask, zarr ...); one passes through.

    Without `axes` they are YX, TYX, TZYX or TCZYX by their number.
    """
    if isinstance(data, Source):
        return data
    if not all(hasattr(data, trait) for trait in ("shape", "dtype", "__getitem__")):
        raise InputError(
            f"{name} is a {type(data).__name__}, not an array; give an array with shape and dtype"
        )
    if axes is None:
        axes = default_axes(_whole_shape(data, name))
    return Source(data, axes, name=name, metadata=metadata or Metadata())


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


def _whole_shape(data: Any, name: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(length) for length in data.shape)
    except (TypeError, ValueError):
        raise InputError(f"{name} has no definite shape ({data.shape}); compute it first") from None
    if 0 in shape:
        raise InputError(f"{name} is empty: its shape is {shape}")
    return shape


def _number_dtype(data: Any, name: str) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(data.dtype)
    except TypeError:
        raise InputError(
            f"{name} holds {data.dtype}, which is not a numpy type; convert it to a numpy array"
        ) from None
    if dtype.kind not in "buif":
        raise InputError(f"{name} holds {dtype} values; convert them to real numbers")
    return dtype


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
