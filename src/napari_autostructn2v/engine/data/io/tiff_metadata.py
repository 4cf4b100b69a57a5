"""Reads pixel sizes, origin and channels of a TIFF from OME, ImageJ or plain tags."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np

from napari_autostructn2v.engine.data.io.metadata import Collected, Metadata

# Dots per inch that programs fill in for screens and printers; they are no pixel sizes.
_SCREENS = (72, 96, 100, 120, 144, 150, 180, 200, 240, 300, 360, 400, 600, 1200, 2400)
_INCH, _CENTIMETRE = 2, 3
_MICRONS = {_INCH: 25400.0, _CENTIMETRE: 10000.0}


def tiff_metadata(tif: Any, number: int, axes: str) -> Metadata:
    """Collect the metadata of one series, whose axes are named `axes`."""
    series = tif.series[number]
    if series.kind == "ome":
        return _ome_metadata(tif, number)
    shaped = tif.shaped_metadata or ()
    notes: Mapping[str, Any] = tif.imagej_metadata or (
        shaped[min(number, len(shaped) - 1)] if shaped else {}
    )
    found = Collected()
    tags = series.keyframe.tags
    kind = tags.valueof("ResolutionUnit", 1)
    unit = str(notes.get("unit", ""))
    if not unit and kind in _MICRONS:
        factor, unit = _MICRONS[kind], "micrometer"
    else:
        factor = 1.0
    for axis in "XY":
        pixels, length = tags.valueof(f"{axis}Resolution", (0, 1))
        if not (pixels and length) or ("unit" not in notes and _is_screen(kind, pixels / length)):
            continue
        if unit or pixels != length:
            found.put(axis, factor * length / pixels, notes.get(f"{axis.lower()}unit") or unit)
    found.put("Z", notes.get("spacing"), notes.get("zunit") or unit)
    found.put("T", notes.get("finterval"), notes.get("tunit") or "second")
    luts = notes.get("LUTs")
    colors = tuple(bytes(np.asarray(lut)[:, -1]).hex().upper() for lut in luts or ())
    return found.metadata(_label_names(notes.get("Labels"), axes, series.shape), colors)


def _is_screen(kind: int, resolution: float) -> bool:
    dots = resolution * {_INCH: 1.0, _CENTIMETRE: 2.54}.get(kind, math.nan)
    return any(abs(dots - screen) < 0.05 for screen in _SCREENS)


def _label_names(labels: Any, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Read channel names from ImageJ's slice labels, if all slices of a channel agree."""
    outer = [length for axis, length in zip(axes, shape, strict=True) if axis not in "YX"]
    if "C" not in axes or not labels or len(labels) != math.prod(outer):
        return ()
    where = [axis for axis in axes if axis not in "YX"].index("C")
    by_channel = np.moveaxis(np.array(labels, dtype=object).reshape(outer), where, 0)
    names = [{str(label) for label in channel.flat} for channel in by_channel]
    return tuple(label for (label,) in names) if all(len(name) == 1 for name in names) else ()


def _ome_metadata(tif: Any, number: int) -> Metadata:
    try:
        root = ElementTree.fromstring(tif.ome_metadata or "")
    except ElementTree.ParseError:
        return Metadata()
    images = [image for image in root.iter() if image.tag.endswith("}Image")]
    if len(images) != len(tif.series):  # an image without pixels has no series
        images = [image for image in images if image.get("Name", "") == tif.series[number].name]
        pixels = images[0].find("{*}Pixels") if len(images) == 1 else None
    else:
        pixels = images[number].find("{*}Pixels")
    if pixels is None:
        return Metadata()
    found = Collected()
    for axis in "XYZ":
        size = pixels.get(f"PhysicalSize{axis}")
        found.put(axis, size, pixels.get(f"PhysicalSize{axis}Unit", "micrometer"))
    found.put("T", pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "second"))
    if (plane := pixels.find("{*}Plane")) is not None:
        for axis in "XYZ":
            where = plane.get(f"Position{axis}")
            found.place(axis, where, plane.get(f"Position{axis}Unit", ""))
    channels = pixels.findall("{*}Channel")
    names = tuple(channel.get("Name", "") for channel in channels)
    colors = tuple(_color(channel.get("Color")) for channel in channels)
    return found.metadata(names if any(names) else (), colors if all(colors) else ())


def _color(text: str | None) -> str:
    """Return RRGGBB of a colour in OME's form, a signed 32-bit RGBA; "" if there is none."""
    try:
        return (int(text or "") & 0xFFFFFFFF).to_bytes(4, "big")[:3].hex().upper()
    except ValueError:
        return ""
