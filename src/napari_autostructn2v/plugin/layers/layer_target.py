"""A result image while it is computed: in memory, or in a file if it is large."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import weakref
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import psutil
from qtpy.QtCore import QThreadPool

from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.data.io.file_target import FileTarget
from napari_autostructn2v.engine.data.io.target import place
from napari_autostructn2v.engine.data.naming import file_stem
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.labels import STAGE_TITLES
from napari_autostructn2v.engine.types import Box
from napari_autostructn2v.plugin.layers.ondemand import Turned

if TYPE_CHECKING:
    from napari_autostructn2v.plugin.layers.reading import LayerSnapshot

_CHUNK = 512
_WIDE = 2**26  # pixels of a plane from which on napari is given smaller copies of it to draw
_STEP = 4  # how much smaller each copy is than the one before, a side


class Results(Protocol):
    """Signals of a target, received in the GUI thread."""

    unwanted: bool
    discarded: Any
    moved: Any


class LayerTarget:
    """A result that napari shows while it is computed; implements the engine's `Target`.

    The engine's thread writes it and updates `state`; only the GUI thread uses `layer`. `levels`
    are the array and, for wide planes, every 4th, 16th ... of its pixels. The array can be in a
    `file`, which is kept if the layer is removed; `path` is its final path, once it is written.
    """

    def __init__(
        self,
        source: Source,
        image: LayerSnapshot,
        stage: StageName,
        dtype: np.dtype[Any],
        sink: Results,
        in_memory: int | None,
        final: bool = True,
    ) -> None:
        self.final = final
        self.file: FileTarget | None = None
        self.path: Path | None = None
        self.axes = source.axes
        sizes = _sizes(source)
        if _is_large(sizes[0], dtype, in_memory):
            self.file = FileTarget(_path(image, stage), source, dtype, overwrite=False)
            del sizes[0]
        self._copies = [_allocate(size, dtype, in_memory) for size in sizes]
        self.image = image
        self.stage = stage
        self.state: Literal["open", "complete", "partial"] = "open"
        self.dirty = False
        self._begun = False
        self.layer: Any = None
        self._source = source
        self._sink = sink
        self.levels = self._make_levels()

    @property
    def array(self) -> Any:
        return self.levels[0]

    def _make_levels(self) -> list[Any]:
        if self.file is None:
            return list(self._copies)
        array, axes = self.file.array, self.file.axes
        if axes != self.axes:
            array = Turned(array, [self.axes.index(axis) for axis in axes])
        return [array, *self._copies]

    def write(self, plane: int, region: Box, block: npt.NDArray[np.float32]) -> None:
        if self.file is not None:
            self.file.write(plane, region, block)
        if self._copies:
            index, values = place(self._source, self.axes, self.array.dtype, plane, region, block)
        try:
            for number, level in enumerate(self._copies, self.file is not None):
                where, inside = _every(_STEP**number, index)
                level[where] = values[inside]
        except OSError as error:
            raise _unwritable(error) from error
        self.dirty = self._begun = True

    def commit(self) -> None:
        self.state = "complete"
        if self.file is not None:
            self.file.path = _path(self.image, self.stage)  # the name may be taken by now
            self.file.commit()
            self._take(self.file.path)

    def discard(self) -> None:
        if self.file is not None:
            self.file.discard()
        if self.state == "open":
            self._sink.discarded.emit(self)

    def keep_partial(self) -> None:
        if self._sink.unwanted:
            self.discard()
        elif self.state == "open":
            path = None if self.file is None else self.file.keep_partial()
            if self._begun:
                self.state = "partial"
                self._take(path)

    def _take(self, path: Path | None) -> None:
        """Use the array of the file, if there is one, now that it has its final name."""
        if path is not None:
            self.path = path
            self.levels = self._make_levels()
            self._sink.moved.emit(self)

    def erase(self) -> None:
        """Remove the file, in a thread, as it may be a folder with very many files."""
        path, self.path = self.path, None
        if path is not None:
            QThreadPool.globalInstance().start(partial(shutil.rmtree, path, ignore_errors=True))


class _Size(NamedTuple):
    axes: str
    shape: tuple[int, ...]


def _sizes(source: Source) -> list[_Size]:
    """Return the shapes of a result and of its smaller copies."""
    lengths = dict(zip(source.axes, source.shape, strict=True))
    sizes = [_Size(source.axes, source.shape)]
    while lengths["Y"] * lengths["X"] > _WIDE:
        lengths |= {axis: -(-lengths[axis] // _STEP) for axis in "YX"}
        sizes.append(_Size(source.axes, tuple(lengths.values())))
    return sizes


def _every(step: int, index: tuple[int | slice, ...]) -> tuple[Any, Any]:
    """Return the indices of a region's every `step`th pixel, in the copy and in the region."""
    spans = [key for key in index if isinstance(key, slice)]
    inside = tuple(slice(-span.start % step, None, step) for span in spans)
    where = tuple(
        slice(-(-key.start // step), -(-key.stop // step)) if isinstance(key, slice) else key
        for key in index
    )
    return where, inside


def _is_large(size: _Size, dtype: np.dtype[Any], in_memory: int | None) -> bool:
    limit = psutil.virtual_memory().available // 4 if in_memory is None else in_memory
    return math.prod(size.shape) * dtype.itemsize > limit


def _path(image: LayerSnapshot, stage: StageName) -> Path:
    """Return a free file name beside the image's file, or else in the temporary folder."""
    folder = Path(tempfile.gettempdir())
    if image.path is not None:
        stores = [path for path in image.path.parents if path.suffix == ".zarr"]
        beside = (stores[-1] if stores else image.path).parent
        folder = beside if os.access(beside, os.W_OK) else folder
    name = file_stem(f"{image.name} {STAGE_TITLES[stage]}")
    numbers = (f" [{number}]" if number else "" for number in count())
    return next(path for n in numbers if not (path := folder / f"{name}{n}.zarr").exists())


def _allocate(size: _Size, dtype: np.dtype[Any], in_memory: int | None) -> Any:
    """Create an array of zeros: in memory, or on disk if it is large.

    The folder on disk is deleted together with the array.
    """
    if not _is_large(size, dtype, in_memory):
        return np.zeros(size.shape, dtype)
    import zarr

    try:
        folder = tempfile.TemporaryDirectory(prefix="autostructn2v-", ignore_cleanup_errors=True)
        array = zarr.create_array(
            store=str(Path(folder.name, "result.zarr")),
            shape=size.shape,
            chunks=tuple(
                min(length, _CHUNK) if axis in "YX" else 1
                for axis, length in zip(size.axes, size.shape, strict=True)
            ),
            dtype=dtype,
            fill_value=0,
        )
    except OSError as error:
        raise _unwritable(error) from error
    weakref.finalize(array, folder.cleanup)
    return array


def _unwritable(error: OSError) -> InputError:
    return InputError(
        f"cannot write the result to {tempfile.gettempdir()} ({error.strerror or error}); "
        "free some space there, or set TMPDIR to a folder on another disk"
    )
