"""Where results go: into memory, or into files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.data.io.file_target import FileTarget
from napari_autostructn2v.engine.data.io.readers import is_zarr
from napari_autostructn2v.engine.data.io.target import Target, cast, place
from napari_autostructn2v.engine.data.naming import distinct, file_stem
from napari_autostructn2v.engine.data.outputs import SUFFIXES, check_outputs, refuse_clashes
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.paths import user_path
from napari_autostructn2v.engine.types import Array, Box

__all__ = ["ArraySink", "FileSink", "Sink", "Target", "cast", "output_paths"]


class Sink(Protocol):
    """Opens a target for the result of each image and stage."""

    def open(
        self, image: int, source: Source, stage: StageName, dtype: np.dtype[Any], final: bool
    ) -> Target | None:
        """Prepare a result of the shape of `source`; None if it is not wanted.

        Raises
        ------
        InputError
            If there is not enough memory, or it cannot be written.
        """


class ArraySink:
    """Keeps results in memory: `results[image, stage]`, and the final ones in `final[image]`."""

    def __init__(self, every_stage: bool = False) -> None:
        self.every_stage = every_stage
        self.results: dict[tuple[int, StageName], Array] = {}
        self.final: dict[int, Array] = {}

    def open(
        self, image: int, source: Source, stage: StageName, dtype: np.dtype[Any], final: bool
    ) -> Target | None:
        if not (final or self.every_stage):
            return None
        try:
            array = np.zeros(source.shape, dtype)
        except MemoryError as error:
            size = math.prod(source.shape) * np.dtype(dtype).itemsize
            raise InputError(
                f"the result of {source.name} takes {size / 2**30:.1f} GiB, more than the memory "
                "available; write it to a .tif or .zarr file"
            ) from error
        self.results[image, stage] = array
        if final:
            self.final[image] = array
        return _ArrayTarget(self, image, stage, source, array)


class _ArrayTarget:
    def __init__(
        self, sink: ArraySink, image: int, stage: StageName, source: Source, array: Array
    ) -> None:
        self.array: Any = array
        self.axes = source.axes
        self._sink, self._image, self._stage, self._source = sink, image, stage, source
        self._open = True

    def write(self, plane: int, region: Box, block: npt.NDArray[np.float32]) -> None:
        index, values = place(self._source, self.axes, self.array.dtype, plane, region, block)
        self.array[index] = values

    def commit(self) -> None:
        self._open = False

    def discard(self) -> None:
        if not self._open:
            return
        self._open = False
        self._sink.results.pop((self._image, self._stage), None)
        if self._sink.final.get(self._image) is self.array:
            del self._sink.final[self._image]

    def keep_partial(self) -> Path | None:
        self._open = False
        return None


class FileSink:
    """Writes final results to `outputs`, and those of a stage to `every_stage[stage]`, by image.

    The final result goes to `outputs` only. Missing folders are created when a result
    is opened. Files are written under a hidden name beside their final path. `kept` lists results
    under other names: unfinished ones, and those whose path was taken meanwhile.

    Raises
    ------
    InputError
        If a suffix is not .tif, .tiff or .zarr, two outputs are the same, or one cannot be
        written or exists while `overwrite` is false.
    """

    def __init__(
        self,
        outputs: Sequence[str | Path],
        overwrite: bool = False,
        every_stage: Mapping[StageName, Sequence[str | Path]] | None = None,
    ) -> None:
        self.outputs = tuple(user_path(path) for path in outputs)
        self.overwrite = overwrite
        self.every_stage = {
            stage: tuple(user_path(path) for path in paths)
            for stage, paths in (every_stage or {}).items()
        }
        self.kept: list[Path] = []
        everything = [*self.outputs, *(p for paths in self.every_stage.values() for p in paths)]
        check_outputs(results=everything, overwrite=overwrite)

    def open(
        self, image: int, source: Source, stage: StageName, dtype: np.dtype[Any], final: bool
    ) -> Target | None:
        if final:
            path = self.outputs[image]
        elif stage in self.every_stage:
            path = self.every_stage[stage][image]
        else:
            return None
        refuse_clashes([path], _files(source))
        return FileTarget(path, source, np.dtype(dtype), self.overwrite, self.kept)


def output_paths(out: str | Path, sources: Sequence[Source]) -> list[Path]:
    """Name the result of each source: `out` itself for one input, else files in the folder `out`.

    In a folder, a result is named after its source, with a number if names repeat; .zarr if the
    source is a Zarr folder, else .tif.

    Raises
    ------
    InputError
        If `out` is a file name for several inputs, has an unknown suffix, or a result would
        replace an input.
    """
    out = user_path(out)
    if out.suffix.lower() in SUFFIXES:
        if len(sources) > 1:
            raise InputError(f"{out} is one file for {len(sources)} inputs; name a folder")
        paths = [out for _ in sources]
    elif len(sources) == 1 and out.suffix and not out.is_dir():
        raise InputError(f"{out}: results are written as .tif or .zarr, not {out.suffix}")
    else:
        paths = [out / name for name in distinct(map(_file_name, sources))]
    refuse_clashes(paths, _files(*sources))
    return paths


def _files(*sources: Source) -> list[Path]:
    return [path for source in sources for path in source.files]


def _file_name(source: Source) -> str:
    return file_stem(source.name) + (
        ".zarr" if source.path is not None and is_zarr(source.path) else ".tif"
    )
