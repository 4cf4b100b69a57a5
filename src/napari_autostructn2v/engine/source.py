"""One image as the engine sees it: named axes, and any region of any plane, never the whole."""

from __future__ import annotations

import glob
import math
import re
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.io import readers
from napari_autostructn2v.engine.io.axes import check_axes, default_axes
from napari_autostructn2v.engine.io.metadata import Metadata

__all__ = ["Metadata", "Source", "as_source", "find_files", "find_sources", "open_source"]


class Source:
    """One image, read region by region.

    Planes are numbered over the axes other than Y and X in stored order, the last of them
    running fastest. Reading is safe from any thread for files opened by `open_source`; for an
    array it is as safe as the array. `close` lets go of the file; so does garbage collection.

    Attributes
    ----------
    name, path
        The file's stem or the layer's name; the file, if it came from one.
    axes, shape, dtype
        As stored; axes are letters of "STCZYX".
    size, planes, channels
        (height, width); number of 2-D planes; length of C, or 1.

    Raises
    ------
    InputError
        If axes, shape or dtype are not those of an image.
    """

    def __init__(
        self,
        data: Any,
        axes: str,
        *,
        name: str,
        metadata: Metadata,
        path: Path | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.shape = _whole_shape(data, name)
        self.dtype = _number_dtype(data, name)
        self.axes = check_axes(axes, self.shape)
        self._lengths = dict(zip(self.axes, self.shape, strict=True))
        self._outer = tuple(axis for axis in self.axes if axis not in "YX")
        self.size = (self._lengths["Y"], self._lengths["X"])
        self.planes = math.prod(self._lengths[axis] for axis in self._outer)
        self.channels = self._lengths.get("C", 1)
        self.metadata = metadata.limited_to(self.axes, self.channels)
        self._data = data
        self._finalizer = weakref.finalize(self, close) if close else None

    @property
    def transposed(self) -> bool:
        """Whether X is stored before Y."""
        return self.axes.index("X") < self.axes.index("Y")

    def channel(self, plane: int) -> int:
        """Position of a plane along C; 0 without that axis."""
        return self._position(plane).get("C", 0)

    def index(self, plane: int, y: slice, x: slice) -> tuple[int | slice, ...]:
        """Where a region of a plane lies in an array of `shape`, in stored order."""
        where: dict[str, int | slice] = {**self._position(plane), "Y": y, "X": x}
        return tuple(where[axis] for axis in self.axes)

    def read(self, plane: int, y: slice, x: slice) -> npt.NDArray[np.float32]:
        """Read a region as a new (Y, X) array; NaN and infinities are kept.

        Raises
        ------
        InputError
            If the file turns out to be damaged there.
        """
        index = self.index(plane, y, x)
        if self._data is None:
            raise ValueError(f"{self.name} is closed")
        try:
            block = np.asarray(self._data[index])
        except (InputError, MemoryError):
            raise
        except Exception as error:  # decoders raise what they please on damaged data
            if self.path is None:
                raise
            raise InputError(
                f"{self.path} cannot be read at plane {plane}: the file is damaged or ends too "
                f"early ({_first_line(error)})"
            ) from error
        if self.transposed:
            block = block.T
        with np.errstate(over="ignore", invalid="ignore"):
            return block.astype(np.float32, order="C")

    def close(self) -> None:
        """Let go of the file; nothing can be read afterwards. An array is left alone."""
        if self._finalizer is not None:
            self._data = None
            self._finalizer()

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

    def _position(self, plane: int) -> dict[str, int]:
        if not 0 <= plane < self.planes:
            raise IndexError(f"plane {plane} of {self.planes}")
        position = {}
        for axis in reversed(self._outer):
            plane, position[axis] = divmod(plane, self._lengths[axis])
        return position


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
        shape = _whole_shape(data, name)
        axes = default_axes(shape)
        if len(shape) == 3 and shape[2] in (3, 4) and min(shape) == shape[2] and _is_uint8(data):
            raise InputError(
                f"{name} of shape {shape} looks like rgb; convert it to grey, or name its axes "
                "(for example YXC)"
            )
    return Source(data, axes, name=name, metadata=metadata or Metadata())


def open_source(path: str | Path, axes: str | None = None) -> Source:
    """Open an image file: TIFF (its first series), PNG, .npy, or an OME-Zarr or Zarr folder.

    Raises
    ------
    InputError
        If there is no such file, or it is not an image, damaged or rgb.
    """
    path = Path(path)
    stored = readers.read(path, axes)
    try:
        return Source(
            stored.data,
            stored.axes,
            name=readers.stem(path),
            metadata=stored.metadata,
            path=path,
            close=stored.close,
        )
    except InputError as error:
        stored.close()
        raise InputError(f"{path}: {error}") from error


def find_sources(paths: str | Path | Iterable[str | Path], axes: str | None = None) -> list[Source]:
    """Open files, the images in folders (not below them) and what globs match, each once.

    Folders and globs give their images in natural order (2 before 10), hidden files left out.

    Raises
    ------
    InputError
        If nothing is there, a folder or glob holds no image, or an image cannot be opened.
    """
    sources: list[Source] = []
    try:
        for file in find_files(paths):
            sources.append(open_source(file, axes))  # noqa: PERF401 - kept for closing on error
    except InputError:
        for source in sources:
            source.close()
        raise
    return sources


def find_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Name the files that `find_sources` opens, in its order.

    Raises
    ------
    InputError
        If none is given, or a folder or glob holds no image.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise InputError("no input was given; name an image, a folder or a glob")
    return list(dict.fromkeys(file for item in given for file in _files(item)))


def _files(item: str | Path) -> list[Path]:
    path = Path(item)
    if not path.exists() and isinstance(item, str) and glob.has_magic(item):
        found = [Path(match) for match in glob.glob(str(path.expanduser()), recursive=True)]
        if not (found := [file for file in found if not _inside_zarr(file)]):
            raise InputError(f"nothing matches {item}")
        return _images(found, item)
    if path.is_dir() and not readers.is_zarr(path):
        return _images(path.iterdir(), path)
    return [path]


def _images(files: Iterable[Path], where: str | Path) -> list[Path]:
    images = [
        file
        for file in files
        if file.suffix.lower() in readers.SUFFIXES
        and not file.name.startswith(".")
        and (file.is_file() or readers.is_zarr(file))
    ]
    if not images:
        raise InputError(f"there is no image in {where}; it takes {', '.join(readers.SUFFIXES)}")
    return sorted(images, key=_natural)


def _inside_zarr(file: Path) -> bool:
    return any(parent.suffix.lower() == ".zarr" for parent in file.parents)


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


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


def _is_uint8(data: Any) -> bool:
    return bool(data.dtype == np.uint8)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
