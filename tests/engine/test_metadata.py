"""What describes an image goes through every format as it came."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_autostructn2v.engine.data.io import units
from napari_autostructn2v.engine.data.io.metadata import Metadata
from napari_autostructn2v.engine.data.io.units import FACTORS, SYMBOLS, unit_name
from napari_autostructn2v.engine.data.opening import open_source
from napari_autostructn2v.engine.data.sink import FileSink
from napari_autostructn2v.engine.data.source import Source, as_source

OUTPUTS = ("a.tif", "a.ome.tif", "a.zarr")
TYPES = ("uint16", "int16", "float32")  # ImageJ; OME; ImageJ

# The symbols of the OME schema 2016-06.
LENGTHS = (
    "Ym Zm Em Pm Tm Gm Mm km hm dam m dm cm mm µm nm pm fm am zm ym Å thou li in ft yd mi ua ly pc "
    "pt"
)
TIMES = "Ys Zs Es Ps Ts Gs Ms ks hs das s ds cs ms µs ns ps fs as zs ys min h d"


def through(path: Path, source: Source, dtype: str = "uint16") -> Source:
    target = FileSink([path], overwrite=True).open(0, source, "stage2", np.dtype(dtype), True)
    assert target is not None
    target.commit()
    return open_source(path)


def described(metadata: Metadata, axes: str = "TZCYX") -> Source:
    return as_source(np.zeros((2, 3, 2, 8, 9)[-len(axes) :], "uint16"), axes, "img", metadata)


def metres(metadata: Metadata, axis: str) -> float:
    size = metadata.size_in(axis, "meter")
    assert size is not None
    return size


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("unit", ["meter", "micrometer"])
@pytest.mark.parametrize("exponent", range(-11, 1))
def test_pixel_sizes_from_a_tenth_of_an_angstrom_to_a_metre(
    tmp_path: Path, name: str, dtype: str, unit: str, exponent: int
) -> None:
    size = 3.25 * 10.0**exponent
    own = size / FACTORS[unit][1]
    metadata = Metadata({"Y": own, "X": 2 * own}, {"Y": unit, "X": unit})
    kept = through(tmp_path / name, described(metadata, "YX"), dtype).metadata
    assert metres(kept, "Y") == pytest.approx(size, rel=1e-4)
    assert metres(kept, "X") == pytest.approx(2 * size, rel=1e-4)


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("symbol", f"{LENGTHS} {TIMES}".split())
def test_every_unit_of_ome_is_kept(tmp_path: Path, name: str, symbol: str) -> None:
    unit = unit_name(symbol)
    assert unit is not None
    assert SYMBOLS[unit] == symbol
    kind, factor = FACTORS[unit]
    axis, base = ("Z", "meter") if kind == "length" else ("T", "second")
    sizes = {"Y": 0.5, "X": 0.5, axis: 0.25}
    near = unit if kind == "length" else "micrometer"
    metadata = Metadata(sizes, {"Y": near, "X": near, axis: unit})
    kept = through(tmp_path / name, described(metadata)).metadata
    assert kept.size_in(axis, base) == pytest.approx(0.25 * factor, rel=1e-4)
    assert kept.size_in("X", "meter") == pytest.approx(0.5 * FACTORS[near][1], rel=1e-4)


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        ("um µm \u03bcm \\u00B5m micron microns Micron micrometer micrometers micrometre "
         "micrometres MICROMETER", "micrometer"),
        ("nm nanometer nanometers Nanometres", "nanometer"),
        ("mm millimeter millimetres", "millimeter"),
        ("Mm megameter", "megameter"),
        ("m meter metres Meters", "meter"),
        ("Å \u212b angstrom angstroms ångström", "angstrom"),
        ("in inch inches", "inch"),
        ("ft foot feet", "foot"),
        ("yd yard yards", "yard"),
        ("mi mile miles", "mile"),
        ("s sec second seconds sec.", "second"),
        ("ms msec millisecond milliseconds", "millisecond"),
        ("us µs \u03bcs usec microseconds", "microsecond"),
        ("min mins minute minutes", "minute"),
        ("h hr hour hours", "hour"),
        ("d day days", "day"),
        ("furlong", "furlong"),
    ],
)  # fmt: skip
def test_units_however_they_are_spelled(spellings: str, name: str) -> None:
    assert {unit_name(word) for word in spellings.split()} == {name}
    assert doctest.testmod(units).failed == 0


@pytest.mark.parametrize("word", ["", None, "pixel", "pixels", "Pixel", "none", "unknown"])
def test_no_unit(word: Any) -> None:
    assert unit_name(word) is None


FULL = Metadata(
    {"T": 0.5, "Z": 0.3, "Y": 0.2, "X": 0.1},
    {"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"},
    ("DAPI", "GFP"),
    ("0000FF", "00FF80"),
)


@pytest.mark.parametrize("first", OUTPUTS)
@pytest.mark.parametrize("second", OUTPUTS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("origin", [{}, {"Z": -3.0, "Y": 12.5, "X": 1000.0}])
def test_everything_goes_from_any_format_to_any_other(
    tmp_path: Path, first: str, second: str, dtype: str, origin: dict[str, float]
) -> None:
    metadata = Metadata(
        FULL.pixel_size, FULL.units, FULL.channel_names, FULL.channel_colors, origin
    )
    (tmp_path / "1").mkdir()
    there = through(tmp_path / "1" / first, described(metadata), dtype)
    kept = through(tmp_path / second, there, dtype)
    assert sorted(kept.axes) == sorted("TZCYX")
    assert kept.metadata.pixel_size == pytest.approx(dict(FULL.pixel_size), rel=1e-6)
    assert kept.metadata.units == FULL.units
    assert kept.metadata.channel_names == FULL.channel_names
    assert kept.metadata.channel_colors == FULL.channel_colors
    assert kept.metadata.origin == pytest.approx(origin)


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_interval_without_a_unit_is_kept(tmp_path: Path, name: str) -> None:
    kept = through(tmp_path / name, described(Metadata({"T": 2.5}))).metadata
    assert kept.pixel_size["T"] == 2.5


@pytest.mark.parametrize(("unit", "seconds"), [("minutes", 120), ("ms", 0.002), ("", 2)])
def test_an_interval_of_imagej(tmp_path: Path, unit: str, seconds: float) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 9), "uint16"), imagej=True,
                     metadata={"axes": "TYX", "finterval": 2, "tunit": unit})  # fmt: skip
    for name in OUTPUTS:
        kept = through(tmp_path / "out" / name, open_source(tmp_path / "a.tif")).metadata
        assert kept.size_in("T", "second") == pytest.approx(seconds)


def test_a_name_that_asks_for_ome_gets_it(tmp_path: Path) -> None:
    for name, kind in (("a.tif", "imagej"), ("a.ome.tif", "ome"), ("A.OME.TIFF", "ome")):
        through(tmp_path / name, described(FULL))
        with tifffile.TiffFile(tmp_path / name) as tif:
            assert tif.series[0].kind == kind


@pytest.mark.parametrize("dots", [72, 96, 150, 300, 600])
@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER"])
def test_dots_of_screens_and_printers_are_no_calibration(
    tmp_path: Path, dots: float, unit: str
) -> None:
    resolution = dots / 2.54 if unit == "CENTIMETER" else dots
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9), "uint16"),
                     resolution=(resolution, resolution), resolutionunit=unit)  # fmt: skip
    assert open_source(tmp_path / "a.tif").metadata == Metadata()


def test_a_zarr_whose_units_ngff_lacks_is_valid_all_the_same(tmp_path: Path) -> None:
    metadata = Metadata({"Y": 2.0, "X": 2.0}, {"Y": "thou", "X": "thou"})
    through(tmp_path / "a.zarr", described(metadata, "YX"))
    axes = zarr.open_group(tmp_path / "a.zarr").attrs["ome"]["multiscales"][0]["axes"]  # type: ignore[index, call-overload]
    assert [axis["unit"] for axis in axes] == ["meter", "meter"]  # type: ignore[index, call-overload]
