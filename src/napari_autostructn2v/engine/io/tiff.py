"""TIFF: read lazily with axes, pixel size and channel names; written in place, region by region."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.io.axes import check_axes, name_unknown, without_samples
from napari_autostructn2v.engine.io.metadata import SYMBOLS, Collected, Metadata
from napari_autostructn2v.engine.io.storage import Mapped, Stored, reserve

# A damaged file is told in our own sentence, not by tifffile on standard error.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def open_tiff(path: Path, axes: str | None) -> Stored:
    import tifffile

    tif = tifffile.TiffFile(path)
    try:
        if not tif.series:
            raise InputError(f"{path} holds no image")
        series = tif.series[0]
        _refuse_rgb(path, series, axes)
        _refuse_truncated(path, tif, series)
        names = check_axes(axes or name_unknown(series.axes), series.shape)
        metadata = _tiff_metadata(tif, series, names)
        if series.dataoffset is not None and not (series.transform or series.is_multifile):
            dtype = series.dtype.newbyteorder(tif.byteorder)
            data = Mapped(path, dtype, series.dataoffset, series.shape)
            tif.close()
            return Stored(data, names, metadata)
        import zarr

        # The store locks the file handle, so that any thread may read.
        pages = zarr.open_array(series.aszarr(level=0), mode="r")
        return Stored(_CachedPages(pages, names), names, metadata, tif.close)
    except BaseException:
        tif.close()
        raise


def _refuse_rgb(path: Path, series: Any, axes: str | None) -> None:
    # Colours beside each other are rgb. Colours in planes of their own are how tifffile
    # used to save stacks of three or four 8-bit frames: four are frames, three need a name.
    page = series.keyframe
    if page.samplesperpixel < 3 or page.photometric.name in (
        "MINISBLACK", "MINISWHITE", "PALETTE",
    ):  # fmt: skip
        return
    if series.axes.endswith("S"):
        raise InputError(f"{path} is an rgb image; convert it to grey or split its channels")
    if page.samplesperpixel == 3 and axes is None:
        raise InputError(
            f"{path} is an rgb image; convert it to grey or split its channels, or name its axes "
            "if its planes are frames (for example TYX)"
        )


def _refuse_truncated(path: Path, tif: Any, series: Any) -> None:
    # tifffile logs a page that lies beyond the end of the file and goes on without it.
    there = tif.filehandle.size
    wanted = _next_page(tif)
    for page in (series[0], series[len(series) - 1]):
        if page is not None:
            wanted = max([wanted, *map(sum, zip(page.dataoffsets, page.databytecounts))])  # noqa: B905 - counts may be fewer
    if series.dataoffset is not None:
        wanted = max(wanted, series.dataoffset + series.nbytes)
    if wanted > there:
        raise InputError(f"{path} is damaged: it ends after {there} of at least {wanted} bytes")


def _next_page(tif: Any) -> int:
    """Offset that the last page that could be read gives for the next; 0 if it is the last."""
    file, layout = tif.filehandle, tif.tiff
    position = file.tell()
    start = tif.pages[len(tif.pages) - 1].offset
    file.seek(start)
    order: Literal["little", "big"] = "little" if tif.byteorder == "<" else "big"
    tags = int.from_bytes(file.read(layout.tagnosize), order)
    file.seek(start + layout.tagnosize + tags * layout.tagsize)
    following = int.from_bytes(file.read(layout.offsetsize), order)
    file.seek(position)
    return following


def _tiff_metadata(tif: Any, series: Any, axes: str) -> Metadata:
    if series.kind == "ome":
        return _ome_metadata(tif.ome_metadata)
    shaped = tif.shaped_metadata[0] if tif.shaped_metadata else {}
    notes: Mapping[str, Any] = tif.imagej_metadata or shaped
    found = Collected()
    tags = tif.pages[0].tags
    factor, unit = {2: (25400.0, "micrometer"), 3: (10000.0, "micrometer")}.get(
        tags.valueof("ResolutionUnit", 1), (1.0, "")
    )
    if "unit" in notes:
        factor, unit = 1.0, str(notes["unit"])
    for axis in "XY":
        pixels, length = tags.valueof(f"{axis}Resolution", (0, 1))
        if pixels and length and (unit or pixels != length):
            found.put(axis, factor * length / pixels, unit)
    found.put("Z", notes.get("spacing"), unit)
    found.put("T", notes.get("finterval"), notes.get("tunit") or "second")
    return found.metadata(_label_names(notes.get("Labels"), axes, series.shape))


def _label_names(labels: Any, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Read channel names from ImageJ's slice labels, if all slices of a channel agree."""
    outer = [length for axis, length in zip(axes, shape, strict=True) if axis not in "YX"]
    if "C" not in axes or not labels or len(labels) != math.prod(outer):
        return ()
    where = [axis for axis in axes if axis not in "YX"].index("C")
    by_channel = np.moveaxis(np.array(labels, dtype=object).reshape(outer), where, 0)
    names = [{str(label) for label in channel.flat} for channel in by_channel]
    return tuple(label for (label,) in names) if all(len(name) == 1 for name in names) else ()


def _ome_metadata(text: str | None) -> Metadata:
    try:
        root = ElementTree.fromstring(text or "")
    except ElementTree.ParseError:
        return Metadata()
    pixels = root.find(".//{*}Pixels")
    if pixels is None:
        return Metadata()
    found = Collected()
    for axis in "XYZ":
        size = pixels.get(f"PhysicalSize{axis}")
        found.put(axis, size, pixels.get(f"PhysicalSize{axis}Unit", "micrometer"))
    found.put("T", pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "second"))
    names = tuple(channel.get("Name", "") for channel in pixels.findall("{*}Channel"))
    return found.metadata(names if any(names) else ())


class _CachedPages:
    """Compressed pages as an array, the last few decoded pages kept.

    Where a compressed block spans much of a page, every small region would decode it anew.
    """

    PAGES = 4
    LARGEST = 64 * 2**20  # bytes of a page; larger ones are read region by region

    def __init__(self, pages: Any, axes: str) -> None:
        self.shape: tuple[int, ...] = pages.shape
        self.dtype: np.dtype[Any] = pages.dtype
        self._pages = pages
        page, block = (
            math.prod(lengths[axes.index(axis)] for axis in "YX")
            for lengths in (pages.shape, pages.chunks)
        )
        self._keep = block * 4 >= page and page * self.dtype.itemsize <= self.LARGEST
        self._kept: OrderedDict[tuple[int, ...], npt.NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, index: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        if not self._keep:
            return np.asarray(self._pages[index])
        key = tuple(i for i in index if not isinstance(i, slice))
        with self._lock:
            if key not in self._kept:
                whole = tuple(slice(None) if isinstance(i, slice) else i for i in index)
                self._kept[key] = np.asarray(self._pages[whole])
                if len(self._kept) > self.PAGES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            page = self._kept[key]
        return page[tuple(i for i in index if isinstance(i, slice))]


AXES = "TZCYX"  # the order ImageJ demands
IMAGEJ_TYPES = ("uint8", "uint16", "float32")
OME_TYPES = (
    "int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64",
)  # fmt: skip
IMAGEJ_LIMIT = 2**32 - 2**24  # bytes of pixels: offsets have 32 bits


class TiffStorage:
    """A TIFF being filled through a memory map, its `array` a view in the source's own order.

    An ImageJ hyperstack where ImageJ can hold it, else OME-BigTIFF, else (64-bit integers,
    float16) BigTIFF with tifffile's JSON description. On disk the axes are TZCYX; S becomes the
    first of T, Z, C that is free.
    """

    def __init__(
        self, path: Path, axes: str, shape: tuple[int, ...], dtype: np.dtype[Any],
        metadata: Metadata, name: str,
    ) -> None:  # fmt: skip
        import tifffile

        self._axes = without_samples(axes, AXES)
        lengths = dict(zip(self._axes, shape, strict=True))
        self._shape = tuple(lengths.get(axis, 1) for axis in AXES)
        self.order = tuple(range(len(axes)))
        options = _options(
            self._shape, dtype, metadata.limited_to(self._axes, self._shape[2]), name
        )
        # One sample is named, or else tifffile takes an X of length 1 for it in ImageJ files.
        shape = (*self._shape, 1) if "imagej" in options else self._shape
        pixels = tifffile.memmap(
            path, shape=shape, dtype=dtype, photometric="minisblack", **options
        )
        offset, length = int(pixels.offset), int(pixels.nbytes)
        del pixels
        reserve(path, offset, length)
        self._path, self._dtype, self._offset = path, dtype, offset
        self.array: Any = self._view("r")

    def write(self, index: tuple[int | slice, ...], values: npt.NDArray[Any]) -> None:
        self._view("r+")[index] = values

    def finish(self, low: float, high: float) -> None:
        self.array = None
        with self._path.open("rb+") as file:
            os.fsync(file.fileno())

    def reopen(self, path: Path) -> None:
        self._path = path
        self.array = self._view("r")

    def _view(self, mode: Literal["r", "r+"]) -> Any:
        pixels = Mapped(self._path, self._dtype, self._offset, self._shape).map(mode)
        inner = pixels[tuple(slice(None) if axis in self._axes else 0 for axis in AXES)]
        stored = [axis for axis in AXES if axis in self._axes]
        return inner.transpose([stored.index(axis) for axis in self._axes])


def _options(
    shape: tuple[int, ...], dtype: np.dtype[Any], metadata: Metadata, name: str
) -> dict[str, Any]:
    if dtype.name in IMAGEJ_TYPES and math.prod(shape) * dtype.itemsize <= IMAGEJ_LIMIT:
        return {"imagej": True, **_imagej_options(shape, metadata)}
    if dtype.name in OME_TYPES:
        return {"ome": True, "bigtiff": True, "metadata": _ome_notes(metadata, name)}
    options = _imagej_options(shape, metadata)
    options["metadata"]["axes"] = AXES
    return {"bigtiff": True, **options}


def _imagej_options(shape: tuple[int, ...], metadata: Metadata) -> dict[str, Any]:
    """ImageJ knows one unit of length, and seconds."""
    unit = metadata.units.get("X")
    notes: dict[str, Any] = {}
    options: dict[str, Any] = {"metadata": notes}
    if unit:
        notes["unit"] = (
            "micron" if unit == "micrometer" else unit.encode("ascii", "ignore").decode()
        )
    x, y = metadata.size_in("X", unit), metadata.size_in("Y", unit)
    if x and y:
        options["resolution"] = (1 / x, 1 / y)
    if spacing := metadata.size_in("Z", unit):
        notes["spacing"] = spacing
    if interval := metadata.size_in("T", "second"):
        notes["finterval"] = interval
    if metadata.channel_names:
        notes["Labels"] = list(metadata.channel_names) * (shape[0] * shape[1])
    return options


def _ome_notes(metadata: Metadata, name: str) -> dict[str, Any]:
    notes: dict[str, Any] = {"axes": AXES, "Name": name}
    for axis in "XYZT":
        if axis not in metadata.pixel_size:
            continue
        key, unit = ("TimeIncrement", "s") if axis == "T" else (f"PhysicalSize{axis}", "pixel")
        notes[key] = metadata.pixel_size[axis]
        notes[f"{key}Unit"] = SYMBOLS.get(metadata.units.get(axis, ""), unit)
    if metadata.channel_names:
        notes["Channel"] = {"Name": list(metadata.channel_names)}
    return notes
