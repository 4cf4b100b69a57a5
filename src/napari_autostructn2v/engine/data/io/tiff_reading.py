"""Reads TIFF lazily: every image of a file or of a multi-file set."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.io.axes import check_axes, name_unknown, refuse_channels_last
from napari_autostructn2v.engine.data.io.storage import Mapped, Stored, check_block
from napari_autostructn2v.engine.data.io.tiff_metadata import tiff_metadata
from napari_autostructn2v.engine.errors import InputError

# `read` reports damaged files; tifffile would log them to standard error as well.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
_log = logging.getLogger("napari_autostructn2v")

_SUBIFDS = 330
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_NO_SCENES = ("label", "macro", "thumbnail", "overview")


def open_tiff(path: Path, axes: str | None) -> list[Stored]:
    import tifffile

    with tifffile.TiffFile(path) as tif:
        _check_chain(path, tif)
        numbers = [k for k, series in enumerate(tif.series) if not _is_aside(series, k)]
        scenes = [tif.series[k] for k in numbers]
        if left_out := len(tif.series) - len(scenes):
            _log.warning("%s: a thumbnail, label or mask is left out (%d)", path, left_out)
        if not scenes:
            raise InputError(f"{path} holds no image")
        _tell_unnamed_pages(path, tif, scenes)
        names = _scene_names(scenes)
        return [
            _open_series(path, tif, number, axes, name)
            for number, name in zip(numbers, names, strict=True)
        ]


def _open_series(path: Path, tif: Any, number: int, axes: str | None, name: str) -> Stored:
    series = tif.series[number]
    _refuse_rgb(path, series, axes)
    _refuse_missing(path, series)
    _refuse_truncated(path, tif, series)
    letters = check_axes(axes or _axes(series), series.shape)
    files = tuple(dict.fromkeys(Path(page.parent.filehandle.path) for page in series if page))
    metadata = tiff_metadata(tif, number, letters)
    data: Any
    if series.dataoffset is not None and not (series.transform or series.is_multifile):
        dtype = series.dtype.newbyteorder(tif.byteorder)
        data = Mapped(path, dtype, series.dataoffset, series.shape)
    else:
        data = _Pages(path, series, letters)
    return Stored(data, letters, metadata, name, files if len(files) > 1 else ())


def _check_chain(path: Path, tif: Any) -> None:
    """Check the chain of directories, as tifffile would follow a cycle forever.

    Raises
    ------
    InputError
        If a directory occurs twice or lies beyond the end of the file.
    """
    file, layout = tif.filehandle, tif.tiff
    order: Literal["little", "big"] = "little" if tif.byteorder == "<" else "big"
    seen: set[int] = set()
    try:
        waiting = [tif.pages.first.offset]
    except IndexError:
        raise InputError(f"{path} holds no image") from None
    while waiting:
        start = waiting.pop()
        if start in seen:
            raise InputError(f"{path} is damaged: its directories form a circle")
        seen.add(start)
        file.seek(start)
        count = int.from_bytes(file.read(layout.tagnosize), order)
        length = count * layout.tagsize + layout.offsetsize
        if (end := start + layout.tagnosize + length) > file.size:
            raise InputError(
                f"{path} is damaged: it ends after {file.size} of at least {end} bytes"
            )
        entries = file.read(length)
        following = int.from_bytes(entries[-layout.offsetsize :], order)
        below = _sub_directories(file, layout, order, entries, count)
        for offset in [following, *below]:
            if offset >= file.size:
                raise InputError(
                    f"{path} is damaged: it ends after {file.size} of at least {offset} bytes"
                )
            if offset:
                waiting.append(offset)


def _sub_directories(
    file: Any, layout: Any, order: Literal["little", "big"], entries: bytes, count: int
) -> list[int]:
    """Return the offsets of a directory's subdirectories, mostly smaller copies of its image."""
    for k in range(count):
        entry = entries[k * layout.tagsize : (k + 1) * layout.tagsize]
        if int.from_bytes(entry[:2], order) != _SUBIFDS:
            continue
        size = 8 if int.from_bytes(entry[2:4], order) in (16, 17, 18) else 4
        number = int.from_bytes(entry[4 : 4 + layout.offsetsize], order)
        value = entry[4 + layout.offsetsize :]
        if number * size > len(value):
            if number * size > file.size:
                return [file.size]
            file.seek(int.from_bytes(value, order))
            value = file.read(number * size)
        return [int.from_bytes(value[i * size :][:size], order) for i in range(number)]
    return []


def _is_aside(series: Any, number: int) -> bool:
    """Whether a series is a thumbnail, a slide label or a mask, and not to be denoised."""
    kind = series.keyframe.subfiletype
    named = any(word in series.name.lower() for word in _NO_SCENES)
    return bool(kind & (_REDUCED | _MASK)) or (named and number > 0)


def _scene_names(scenes: list[Any]) -> list[str]:
    """Return the scenes' names if distinct, else numbers; a single scene has no name."""
    if len(scenes) == 1:
        return [""]
    names = [str(series.name).strip() for series in scenes]
    distinct = all(names) and len({name.casefold() for name in names}) == len(names)
    return names if distinct else [str(number) for number in range(len(scenes))]


def _tell_unnamed_pages(path: Path, tif: Any, scenes: list[Any]) -> None:
    if scenes[0].kind != "ome":
        return
    named = {page.index for series in scenes for page in series if page and page.parent is tif}
    if unnamed := len(tif.pages) - len(named):
        _log.warning("%s: %d pages that its OME description does not name are left out",
                     path, unnamed)  # fmt: skip


def _axes(series: Any) -> str:
    """Return the axes of a series; samples that are not colours are channels."""
    letters: str = series.axes
    if letters.endswith("X") and any(letter in "QIOS" for letter in letters):
        refuse_channels_last(series.shape)
    if "C" not in letters and series.keyframe.photometric.name in ("MINISBLACK", "MINISWHITE"):
        letters = letters.replace("S", "C")
    return name_unknown(letters)


def _refuse_rgb(path: Path, series: Any, axes: str | None) -> None:
    # Interleaved colours are rgb. Separate colour planes are also how tifffile used to save
    # stacks of three or four 8-bit frames: four are taken as frames, three need named axes.
    page = series.keyframe
    kind = page.photometric.name
    if kind in ("MINISBLACK", "MINISWHITE", "PALETTE"):
        if any(extra in (1, 2) for extra in page.extrasamples):
            raise InputError(
                f"{path} is a grey image with transparency, not a plain image; convert it to grey "
                "or split its channels"
            )
        return
    if page.samplesperpixel < 3:
        return
    if series.axes.endswith("S"):
        raise InputError(f"{path} is an rgb image; convert it to grey or split its channels")
    if page.samplesperpixel == 3 and axes is None:
        raise InputError(
            f"{path} is an rgb image; convert it to grey or split its channels, or name its axes "
            "if its planes are frames (for example TYX)"
        )


def _refuse_missing(path: Path, series: Any) -> None:
    """Refuse an image with declared but missing planes, which would be read as blank."""
    page = max(series.keyframe.size, 1)
    wanted = max(math.prod(series.shape) // page, 1)
    missing = [k for k in range(len(series)) if series[k] is None] if len(series) > 1 else []
    missing += range(len(series), wanted)
    if missing:
        raise InputError(
            f"{path} lacks {len(missing)} of its {wanted} planes, the first is plane "
            f"{missing[0]}; put the files that hold them beside it, or save the other planes as a "
            "new file"
        )


def _refuse_truncated(path: Path, tif: Any, series: Any) -> None:
    # tifffile only logs a page beyond the end of the file and skips it.
    there = tif.filehandle.size
    wanted = 0
    for page in (series[0], series[len(series) - 1]):
        if page.parent is tif:
            wanted = max([wanted, *map(sum, zip(page.dataoffsets, page.databytecounts))])  # noqa: B905 - counts may be fewer
    if series.dataoffset is not None:
        wanted = max(wanted, series.dataoffset + series.nbytes)
    elif len(series.keyframe.dataoffsets) < math.prod(series.keyframe.chunked):
        raise InputError(f"{path} is damaged: parts of its first plane are missing")
    if wanted > there:
        raise InputError(f"{path} is damaged: it ends after {there} of at least {wanted} bytes")


class _Pages:
    """Compressed pages as an array, with a cache of the last few decoded pages.

    Without the cache, a compressed block that spans much of a page would be decoded again for
    every small region. Files are open only during a read, so their number is not limited.
    """

    PAGES = 4
    LARGEST = 64 * 2**20  # bytes of a page; larger ones are read region by region

    def __init__(self, path: Path, series: Any, axes: str) -> None:
        import zarr

        self._store = series.aszarr(level=0)
        self._pages = zarr.open_array(self._store, mode="r")
        self.shape: tuple[int, ...] = self._pages.shape
        self.dtype: np.dtype[Any] = self._pages.dtype
        check_block(path, self._pages.chunks, self.dtype)
        page, block = (
            math.prod(lengths[axes.index(axis)] for axis in "YX")
            for lengths in (self._pages.shape, self._pages.chunks)
        )
        self._keep = block * 4 >= page and page * self.dtype.itemsize <= self.LARGEST
        self._kept: OrderedDict[tuple[int, ...], npt.NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._users, self._counting = 0, threading.Lock()

    def __getitem__(self, index: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        if not self._keep:
            return self._read(index)
        key = tuple(i for i in index if not isinstance(i, slice))
        with self._lock:
            if key not in self._kept:
                whole = tuple(slice(None) if isinstance(i, slice) else i for i in index)
                self._kept[key] = self._read(whole)
                if len(self._kept) > self.PAGES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            page = self._kept[key]
        return page[tuple(i for i in index if isinstance(i, slice))]

    def _read(self, index: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        with self._opened():
            return np.asarray(self._pages[index])

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Keep the files open until the last thread has finished reading."""
        with self._counting:
            self._users += 1
        try:
            yield
        finally:
            with self._counting:
                self._users -= 1
                if not self._users:
                    self._store.close()


def set_name(files: tuple[Path, ...]) -> str:
    """Return the common prefix of the names of a set's files, or else the first name."""
    stems = [file.name.split(".")[0] for file in files]
    common = os.path.commonprefix(stems)  # noqa: RUF071 - compares letters, as intended
    return common.rstrip("0123456789_- ") or stems[0]
