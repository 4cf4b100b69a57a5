"""Units of length and time of OME, their spellings, and conversion between them."""

from __future__ import annotations

_PREFIXES = (
    ("yotta", "Y", 1e24), ("zetta", "Z", 1e21), ("exa", "E", 1e18), ("peta", "P", 1e15),
    ("tera", "T", 1e12), ("giga", "G", 1e9), ("mega", "M", 1e6), ("kilo", "k", 1e3),
    ("hecto", "h", 1e2), ("deca", "da", 1e1), ("deci", "d", 1e-1), ("centi", "c", 1e-2),
    ("milli", "m", 1e-3), ("micro", "µ", 1e-6), ("nano", "n", 1e-9), ("pico", "p", 1e-12),
    ("femto", "f", 1e-15), ("atto", "a", 1e-18), ("zepto", "z", 1e-21), ("yocto", "y", 1e-24),
)  # fmt: skip
_OTHERS = (
    ("angstrom", "Å", "length", 1e-10), ("thou", "thou", "length", 2.54e-5),
    ("line", "li", "length", 2.54e-2 / 12), ("inch", "in", "length", 2.54e-2),
    ("foot", "ft", "length", 0.3048), ("yard", "yd", "length", 0.9144),
    ("mile", "mi", "length", 1609.344), ("point", "pt", "length", 2.54e-2 / 72),
    ("astronomical unit", "ua", "length", 1.495978707e11),
    ("light year", "ly", "length", 9.4607304725808e15),
    ("parsec", "pc", "length", 3.0856775814913673e16),
    ("minute", "min", "time", 60.0), ("hour", "h", "time", 3600.0), ("day", "d", "time", 86400.0),
)  # fmt: skip

# Name in OME-NGFF: the quantity, and the unit in metres or seconds.
FACTORS: dict[str, tuple[str, float]] = {"meter": ("length", 1.0), "second": ("time", 1.0)}
# Name in OME-NGFF: symbol in OME-TIFF.
SYMBOLS: dict[str, str] = {"meter": "m", "second": "s"}
for _name, _symbol, _factor in _PREFIXES:
    for _unit, _short, _kind in (("meter", "m", "length"), ("second", "s", "time")):
        FACTORS[_name + _unit] = (_kind, _factor)
        SYMBOLS[_name + _unit] = _symbol + _short
for _name, _symbol, _kind, _factor in _OTHERS:
    FACTORS[_name] = (_kind, _factor)
    SYMBOLS[_name] = _symbol

# Units that OME-NGFF allows; the others are converted to metres or seconds.
NGFF = frozenset(SYMBOLS) - {
    "thou", "line", "point", "astronomical unit", "light year", "decameter", "decasecond",
}  # fmt: skip

_NONE = ("", "none", "null", "pixel", "pixels", "px", "unknown", "frame", "frames")
_SPELLINGS = {
    "micron": "micrometer", "feet": "foot", "inches": "inch", "ångström": "angstrom",
    "angström": "angstrom", "ångstrom": "angstrom", "msec": "millisecond", "usec": "microsecond",
    "µsec": "microsecond", "nsec": "nanosecond", "sec": "second", "hr": "hour", "hrs": "hour",
    "mins": "minute", '"': "inch", "au": "astronomical unit",
}  # fmt: skip
_BY_SYMBOL = {symbol: name for name, symbol in SYMBOLS.items()}


def unit_name(text: object) -> str | None:
    """Return the OME-NGFF name of a unit; None if the text means "no unit".

    Unknown units are returned unchanged.

    >>> unit_name("Microns"), unit_name("um"), unit_name("nanometres"), unit_name("pixel")
    ('micrometer', 'micrometer', 'nanometer', None)
    """
    word = str(text or "").strip().replace("\\u00b5", "µ").replace("\\u00B5", "µ")
    word = word.replace("\u03bc", "µ").replace("\u212b", "Å")
    if word.lower() in _NONE:
        return None
    # Symbols first and case-sensitive: mm is not Mm.
    for symbol in (word, _micro(word), word.lower(), _micro(word.lower())):
        if symbol in _BY_SYMBOL:
            return _BY_SYMBOL[symbol]
    small = word.lower().replace("metre", "meter")
    for name in (small, small.removesuffix("s"), small.removesuffix(".")):
        if name in FACTORS:
            return name
        if name in _SPELLINGS:
            return _SPELLINGS[name]
    return word


def _micro(word: str) -> str:
    return f"µ{word[1:]}" if word in ("um", "us") else word


def converted(size: float, unit: str | None, wanted: str | None) -> float | None:
    """Convert a size to another unit; None if a unit is unknown or the quantities differ."""
    if unit == wanted:
        return size
    here, there = FACTORS.get(unit or ""), FACTORS.get(wanted or "")
    if here is None or there is None or here[0] != there[0]:
        return None
    return size * (here[1] / there[1])
