"""What a result must carry over from its image, in one vocabulary of units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Metadata:
    """Pixel sizes and units by axis letter (only those that are known), and channel names.

    Units are spelled as OME-NGFF spells them: "micrometer", "second".
    """

    pixel_size: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    channel_names: tuple[str, ...] = ()

    def limited_to(self, axes: str, channels: int) -> Metadata:
        """Leave out what does not belong to an image of these axes and so many channels."""
        return Metadata(
            {axis: size for axis, size in self.pixel_size.items() if axis in axes},
            {axis: unit for axis, unit in self.units.items() if axis in axes},
            self.channel_names if len(self.channel_names) == channels else (),
        )

    def size_in(self, axis: str, unit: str | None) -> float | None:
        """Pixel size along `axis` in `unit`; None if it is unknown or of another kind."""
        size, own = self.pixel_size.get(axis), self.units.get(axis)
        if size is None or own == unit:
            return size
        here, there = _FACTORS.get(own or ""), _FACTORS.get(unit or "")
        if here is None or there is None or here[0] != there[0]:
            return None
        return size * here[1] / there[1]


_FACTORS = {
    **{
        name: ("length", factor)
        for name, factor in (
            ("angstrom", 1e-10), ("picometer", 1e-12), ("nanometer", 1e-9), ("micrometer", 1e-6),
            ("millimeter", 1e-3), ("centimeter", 1e-2), ("inch", 0.0254), ("meter", 1.0),
        )
    },
    **{
        name: ("time", factor)
        for name, factor in (
            ("nanosecond", 1e-9), ("microsecond", 1e-6), ("millisecond", 1e-3), ("second", 1.0),
            ("minute", 60.0), ("hour", 3600.0), ("day", 86400.0),
        )
    },
}  # fmt: skip

SYMBOLS = {
    "angstrom": "Å", "picometer": "pm", "nanometer": "nm", "micrometer": "µm",
    "millimeter": "mm", "centimeter": "cm", "inch": "in", "meter": "m",
    "nanosecond": "ns", "microsecond": "µs", "millisecond": "ms", "second": "s",
    "minute": "min", "hour": "h", "day": "d",
}  # fmt: skip

_ALIASES = {
    **{symbol: name for name, symbol in SYMBOLS.items()},
    "um": "micrometer", "micron": "micrometer", "microns": "micrometer", "\u03bcm": "micrometer",
    "\\u00b5m": "micrometer", "micrometre": "micrometer", "nanometre": "nanometer",
    "millimetre": "millimeter", "centimetre": "centimeter", "metre": "meter",
    "us": "microsecond", "\u03bcs": "microsecond", "sec": "second", "seconds": "second",
    "msec": "millisecond", "inches": "inch",
}  # fmt: skip


def unit_name(text: object) -> str | None:
    """Spell a unit as OME-NGFF does; None when the text says that there is none."""
    word = str(text or "").strip()
    known = _ALIASES.get(word) or _ALIASES.get(word.lower())
    if known or word.lower() in _FACTORS:
        return known or word.lower()
    return None if word.lower() in ("", "none", "null", "pixel", "pixels", "unknown") else word


class Collected:
    """Pixel sizes found in a file one by one; what is no positive number is left out."""

    def __init__(self) -> None:
        self.sizes: dict[str, float] = {}
        self.units: dict[str, str] = {}

    def put(self, axis: str, size: object, unit: object) -> None:
        try:
            value = float(size)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return
        if not (math.isfinite(value) and value > 0):
            return
        self.sizes[axis] = value
        if name := unit_name(unit):
            self.units[axis] = name

    def metadata(self, channel_names: tuple[str, ...] = ()) -> Metadata:
        return Metadata(self.sizes, self.units, channel_names)
