"""Writes TIFF in place, region by region."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.io.axes import without_samples
from napari_autostructn2v.engine.data.io.mark import SOFTWARE
from napari_autostructn2v.engine.data.io.metadata import Metadata
from napari_autostructn2v.engine.data.io.storage import Mapped, reserve
from napari_autostructn2v.engine.data.io.units import FACTORS, SYMBOLS

AXES = "TZCYX"  # the order that ImageJ requires
IMAGEJ_TYPES = ("uint8", "uint16", "float32")
OME_TYPES = (
    "int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64",
)  # fmt: skip
IMAGEJ_LIMIT = 2**32 - 2**24  # bytes of pixels: offsets have 32 bits


class TiffStorage:
    """A TIFF being written through a memory map; `array` has its axes in the source's order.

    The file is an ImageJ hyperstack if ImageJ supports the image and `ome` is false, else an
    OME-BigTIFF, else (64-bit integers, float16) a BigTIFF with tifffile's JSON description. On
    disk the axes are TZCYX; S becomes the first free one of T, Z and C.
    """

    def __init__(
        self, path: Path, axes: str, shape: tuple[int, ...], dtype: np.dtype[Any],
        metadata: Metadata, name: str, ome: bool = False,
    ) -> None:  # fmt: skip
        import tifffile

        self._axes = without_samples(axes, AXES)
        lengths = dict(zip(self._axes, shape, strict=True))
        self._shape = tuple(lengths.get(axis, 1) for axis in AXES)
        self.order = tuple(range(len(axes)))
        options = _options(
            self._shape, dtype, metadata.limited_to(self._axes, self._shape[2]), name, ome
        )
        # Without this axis tifffile takes an X of length 1 for the samples in ImageJ files.
        shape = (*self._shape, 1) if "imagej" in options else self._shape
        pixels = tifffile.memmap(
            path, shape=shape, dtype=dtype, photometric="minisblack", software=SOFTWARE, **options
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
    shape: tuple[int, ...], dtype: np.dtype[Any], metadata: Metadata, name: str, ome: bool
) -> dict[str, Any]:
    small = math.prod(shape) * dtype.itemsize <= IMAGEJ_LIMIT
    if dtype.name in IMAGEJ_TYPES and small and not ome:
        options = _imagej_options(shape, metadata)
        if not metadata.origin and (not _has_pixel_size(metadata) or "resolution" in options):
            return {"imagej": True, **options}
    if dtype.name in OME_TYPES:
        return {"ome": True, "bigtiff": True, "metadata": _ome_notes(shape, metadata, name)}
    options = _imagej_options(shape, metadata)
    options["metadata"]["axes"] = AXES
    options["metadata"].pop("LUTs", None)
    return {"bigtiff": True, **options}


def _has_pixel_size(metadata: Metadata) -> bool:
    return any(axis in metadata.pixel_size for axis in "YX")


_EXTREME = 1e6  # a resolution is a fraction of two numbers of 32 bits
_FINE = ("meter", "millimeter", "micrometer", "nanometer", "picometer")


def _imagej_options(shape: tuple[int, ...], metadata: Metadata) -> dict[str, Any]:
    """Return the options for an ImageJ file, which has one unit of length, and seconds."""
    notes: dict[str, Any] = {}
    options: dict[str, Any] = {"metadata": notes}
    unit, x, y = _resolvable(metadata)
    if x and y:
        options["resolution"] = (1 / x, 1 / y)
    if unit:
        notes["unit"] = "micron" if unit == "micrometer" else unit
    if spacing := metadata.size_in("Z", unit):
        notes["spacing"] = spacing
    if (interval := metadata.size_in("T", "second")) is not None:
        notes["finterval"] = interval
    elif interval := metadata.pixel_size.get("T"):
        notes["finterval"] = interval
        notes["tunit"] = metadata.units.get("T", "unknown").encode("ascii", "ignore").decode()
    if metadata.channel_names:
        notes["Labels"] = list(metadata.channel_names) * (shape[0] * shape[1])
    if metadata.channel_colors:
        notes["LUTs"] = [_lut(color) for color in metadata.channel_colors]
        notes["mode"] = "composite" if shape[2] > 1 else "color"
    return options


def _resolvable(metadata: Metadata) -> tuple[str | None, float | None, float | None]:
    """Return a unit in which TIFF's resolution can hold the pixel sizes, and these in x and y."""
    own = metadata.units.get("X")
    for unit in (own, *(_FINE if own in FACTORS else ())):
        x, y = metadata.size_in("X", unit), metadata.size_in("Y", unit)
        if x and y and all(1 / _EXTREME <= size <= _EXTREME for size in (x, y)):
            ascii_unit = None if unit is None else unit.encode("ascii", "ignore").decode()
            return ascii_unit, x, y
    return own if own in FACTORS else None, None, None


def _lut(color: str) -> npt.NDArray[np.uint8]:
    """Return a look-up table from black to a colour, (3, 256), as ImageJ stores it."""
    ramp = np.linspace(0, 1, 256)
    return np.rint(np.multiply.outer(list(bytes.fromhex(color)), ramp)).astype(np.uint8)


def _ome_notes(shape: tuple[int, ...], metadata: Metadata, name: str) -> dict[str, Any]:
    notes: dict[str, Any] = {"axes": AXES, "Name": name}
    for axis in "XYZT":
        if axis not in metadata.pixel_size:
            continue
        key = "TimeIncrement" if axis == "T" else f"PhysicalSize{axis}"
        known = metadata.units.get(axis)
        if axis == "T" and known is None:
            known = "second"  # OME requires a unit of the interval
        notes[key] = metadata.pixel_size[axis]
        notes[f"{key}Unit"] = SYMBOLS.get(known or "", "pixel")
    channel: dict[str, Any] = {}
    if metadata.channel_names:
        channel["Name"] = list(metadata.channel_names)
    if metadata.channel_colors:
        channel["Color"] = [
            int.from_bytes(bytes.fromhex(f"{color}FF"), "big", signed=True)
            for color in metadata.channel_colors
        ]
    if channel:
        notes["Channel"] = channel
    planes = math.prod(shape[:3])
    plane: dict[str, Any] = {}
    for axis, start in metadata.origin.items():
        if axis in "XYZ":
            plane[f"Position{axis}"] = [start] * planes
            unit = SYMBOLS.get(metadata.units.get(axis, ""), "reference frame")
            plane[f"Position{axis}Unit"] = [unit] * planes
    if plane:
        notes["Plane"] = plane
    return notes
