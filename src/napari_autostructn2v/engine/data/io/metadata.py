"""Image metadata that a result carries over, with units spelled as in OME-NGFF."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from napari_autostructn2v.engine.data.io.units import converted, unit_name


@dataclass(frozen=True)
class Metadata:
    """Pixel size, unit and origin by axis letter, where known, and the channels.

    Units are spelled as in OME-NGFF: "micrometer", "second". `origin` is the position of the
    first pixel, in the units of the pixel sizes. Channel colours are RRGGBB.
    """

    pixel_size: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    channel_names: tuple[str, ...] = ()
    channel_colors: tuple[str, ...] = ()
    origin: Mapping[str, float] = field(default_factory=dict)

    def limited_to(self, axes: str, channels: int) -> Metadata:
        """Drop what does not fit an image with these axes and this number of channels."""
        return Metadata(
            {axis: size for axis, size in self.pixel_size.items() if axis in axes},
            {axis: unit for axis, unit in self.units.items() if axis in axes},
            self.channel_names if len(self.channel_names) == channels else (),
            self.channel_colors if len(self.channel_colors) == channels else (),
            {axis: start for axis, start in self.origin.items() if axis in axes},
        )

    def size_in(self, axis: str, unit: str | None) -> float | None:
        """Return the pixel size along `axis` in `unit`; None if unknown or not convertible."""
        size = self.pixel_size.get(axis)
        return None if size is None else converted(size, self.units.get(axis), unit)


class Collected:
    """Collects metadata item by item; sizes that are not positive numbers are ignored."""

    def __init__(self) -> None:
        self.sizes: dict[str, float] = {}
        self.units: dict[str, str] = {}
        self.origin: dict[str, float] = {}

    def put(self, axis: str, size: object, unit: object) -> None:
        value = _number(size)
        if value is None or value <= 0:
            return
        self.sizes[axis] = value
        if name := unit_name(unit):
            self.units[axis] = name

    def place(self, axis: str, start: object, unit: object) -> None:
        """Set the position of the first pixel, after the axis' unit is set; 0 is ignored."""
        value = _number(start)
        if value:
            value = converted(value, unit_name(unit), self.units.get(axis))
        if value:
            self.origin[axis] = value

    def metadata(
        self, channel_names: tuple[str, ...] = (), channel_colors: tuple[str, ...] = ()
    ) -> Metadata:
        return Metadata(self.sizes, self.units, channel_names, channel_colors, self.origin)


def _number(text: object) -> float | None:
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None
