"""One image as the engine sees it: named axes, and any region of any plane, never the whole."""

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
_MOST_BYTES = 2**26  # of an array that is handed to another process


class Source(Planes):
    """One image, read region by region.

    Reading is safe from any thread for files opened by `open_source`; for an
    array it is as safe as the array. No file is held open between readings.

    Attributes
    ----------
    name, path
        The file's stem, with the name of the scene if there are several, or the layer's name; the
        file, if it came from one.
    set_files, scene
        The files of the set, if it is read from several; what tells it from others in its file.
    dtype
        As stored.

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
        shape = whole_shape(data, name)
        self.dtype = number_dtype(data, name)
        super().__init__(check_axes(axes, shape), shape)
        if self.planes > _MOST_PLANES:
            raise InputError(
                f"{name} declares {self.planes:.3g} planes, and {_MOST_PLANES} is the limit; pick "
                "the part to denoise"
            )
        self.metadata = metadata.limited_to(self.axes, self.channels)
        self._data = data

    @property
    def files(self) -> list[Path]:
        """All that is read: the file, and the others of its set."""
        return [path for path in (self.path, *self.set_files) if path is not None]

    @property
    def chunks(self) -> tuple[int, int] | None:
        """(height, width) of the blocks it is stored in, as `chunks_of` tells them."""
        return chunks_of(self._data, self.axes)

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

    def stored(self, plane: int, y: slice, x: slice) -> Array:
        """The same in the type that it has."""
        block = self._stored(self.index(plane, y, x))
        return block.T if self.transposed else block

    def through(self, view: View, offset: float) -> Source:
        """The image as a view shows it, whose values are less `offset`."""
        seen = copy.copy(self)
        seen._data, seen.offset = _Seen(self, Through(view, offset)), offset
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
        box = dict(zip(self.axes, whole(self.shape), strict=True))
        for axis, span in spans.items():
            if axis not in box:
                raise InputError(f"{self.name} has the axes {self.axes} and no {axis} to crop")
            start, length = max(span.start or 0, 0), self.lengths[axis]
            stop = length if span.stop is None else min(span.stop, length)
            if stop <= start:
                raise InputError(
                    f"{axis} from {span.start} to {span.stop} lies outside {self.name}, whose "
                    f"{axis} has length {length}; choose a region inside it"
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
        """How to open the image again, in this process or another.

        Raises
        ------
        InputError
            If it is an array too large to be handed over.
        """
        if isinstance(self._data, _Part | _Seen):
            spec = self._data.whole.spec()
            return replace(spec, steps=(*spec.steps, self._data.step))
        array = None
        if self.path is None:
            if (size := math.prod(self.shape) * self.dtype.itemsize) > _MOST_BYTES:
                raise InputError(
                    f"{self.name} is an array of {size / 2**20:.0f} MiB, and only "
                    f"{_MOST_BYTES // 2**20} MiB can be handed to another process; save it as a "
                    "file and open that"
                )
            array = self._stored(tuple(slice(length) for length in self.shape))
        return SourceSpec(
            self.name, self.axes, self.metadata, self.path, self.set_files, self.scene, array
        )

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
        sizes = " ".join(f"{axis}={length}" for axis, length in self.lengths.items())
        return f"<Source {self.name!r} {sizes} {self.dtype}>"

    def _stored(self, index: tuple[int | slice, ...]) -> Array:
        if self._data is None:
            raise ValueError(f"{self.name} is closed")
        if isinstance(self._data, _Part | _Seen):  # the whole speaks of its own errors
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


class View(ABC):
    """What is made of an image as it is read: less its offset, less its waves, mended.

    A view holds no image, so that it can be sent to another process.
    """

    @abstractmethod
    def region(self, source: Source, plane: int, y: slice, x: slice) -> Array:
        """Give a (Y, X) region of a plane."""


@dataclass(frozen=True)
class Crop:
    """A part of an image: a span along each of its axes."""

    box: Box


@dataclass(frozen=True)
class Through:
    """An image through a view, whose values are less `offset`."""

    view: View
    offset: float


@dataclass(frozen=True, eq=False)
class SourceSpec:
    """How to open an image again (`opening.reopen`), in another process too: it pickles.

    Attributes
    ----------
    array
        The image itself, where no file holds it.
    steps
        What was made of it, one after the other.
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
    """A part of a source, addressed like an array of its own."""

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
    """A source through a view, addressed like an array of its own."""

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
        axes = default_axes(whole_shape(data, name))
    return Source(data, axes, name=name, metadata=metadata or Metadata())


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
