"""Sources: the right region of the right plane, nothing more read, and bad input in a sentence."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_autostructn2v.engine.data.io.metadata import Metadata
from napari_autostructn2v.engine.data.io.storage import Mapped
from napari_autostructn2v.engine.data.opening import find_sources, open_source
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.errors import InputError

RNG = np.random.default_rng(0)


def noise(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray:
    return RNG.integers(0, 200, shape).astype(dtype)


class Recorder:
    """An array of any size that holds nothing and remembers what was asked of it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype, self.asked = shape, np.dtype("uint16"), []

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        self.asked.append(index)
        lengths = [len(range(*i.indices(n))) for i, n in zip(index, self.shape, strict=True)
                   if isinstance(i, slice)]  # fmt: skip
        return np.ones(lengths, self.dtype)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise AssertionError("the whole array was asked for")


@st.composite
def named_images(draw: st.DrawFn) -> tuple[str, tuple[int, ...]]:
    outer = draw(st.lists(st.sampled_from("STCZ"), unique=True, max_size=3))
    axes = "".join(draw(st.permutations([*outer, "Y", "X"])))
    return axes, tuple(draw(st.integers(1, 5)) for _ in axes)


@given(named_images(), st.data())
@settings(max_examples=150, deadline=None)
def test_every_region_of_every_plane_is_what_indexing_gives(
    image: tuple[str, tuple[int, ...]], data: st.DataObject
) -> None:
    axes, shape = image
    array = np.arange(np.prod(shape), dtype="int32").reshape(shape)
    source = as_source(array, axes.lower())
    outer = [axis for axis in axes if axis not in "YX"]
    # The reference: planes first, in stored order, then Y, X.
    planes = array.transpose([axes.index(a) for a in [*outer, "Y", "X"]]).reshape(-1, *source.size)
    assert source.planes == len(planes)
    y, x = (
        slice(*sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n)))))
        for n in source.size
    )
    plane = data.draw(st.integers(0, source.planes - 1))
    block = source.read(plane, y, x)
    assert block.dtype == np.float32
    np.testing.assert_array_equal(block, planes[plane, y, x])
    where = source.index(plane, slice(None), slice(None))
    assert source.channel(plane) == (where[axes.index("C")] if "C" in axes else 0)
    assert source.channels == (shape[axes.index("C")] if "C" in axes else 1)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((3, 4), "YX"), ((2, 3, 4), "TYX"), ((2, 2, 3, 4), "TZYX"), ((1, 2, 2, 3, 4), "TCZYX")],
)
def test_axes_without_names(shape: tuple[int, ...], axes: str) -> None:
    assert as_source(np.zeros(shape)).axes == axes


def test_a_source_passes_through() -> None:
    source = as_source(np.zeros((2, 2)))
    assert as_source(source) is source


@pytest.mark.parametrize("make", [np.array, da.from_array, zarr.array])
def test_array_kinds(make: Any) -> None:
    array = noise((2, 9, 8))
    assert np.array_equal(as_source(make(array)).read(1, slice(2, 5), slice(0, 8)), array[1, 2:5])


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "uint32", "int16", "int64", "float16", "float64", ">u2"]
)
def test_dtypes(dtype: str) -> None:
    array = noise((4, 5), "uint8").astype(dtype)
    assert np.array_equal(as_source(array).read(0, slice(None), slice(None)), array)


def test_what_is_not_finite_is_kept_and_reading_copies() -> None:
    array = np.array([[np.nan, np.inf, -1e300], [-np.inf, 1e300, 1.0]])
    most = np.finfo(np.float32).max
    for image in (array, array.astype(">f8"), array.astype(np.longdouble)):
        block = as_source(image).read(0, slice(None), slice(None))
        np.testing.assert_array_equal(block, [[np.nan, np.inf, -most], [-np.inf, most, 1.0]])
    plain = np.zeros((2, 2), "float32")
    as_source(plain).read(0, slice(None), slice(None))[:] = 1
    assert not plain.any()


def test_only_the_region_is_read() -> None:
    lazy = Recorder((1000, 20000, 20000))
    source = as_source(lazy)
    assert lazy.asked == []
    assert source.read(7, slice(100, 164), slice(20, 84)).shape == (64, 64)
    assert lazy.asked == [(7, slice(100, 164), slice(20, 84))]


@given(named_images(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_crop_is_what_slicing_gives(
    image: tuple[str, tuple[int, ...]], data: st.DataObject
) -> None:
    axes, shape = image
    array = np.arange(np.prod(shape), dtype="int32").reshape(shape)
    spans = {}
    for axis, length in zip(axes, shape, strict=True):
        if data.draw(st.booleans()):
            start = data.draw(st.integers(0, length - 1))
            spans[axis] = slice(start, data.draw(st.integers(start + 1, length + 3)))
    part = as_source(array, axes).crop(**spans)
    expected = as_source(array[tuple(spans.get(axis, slice(None)) for axis in axes)], axes)
    assert (part.axes, part.shape, part.dtype) == (axes, expected.shape, array.dtype)
    for plane in range(expected.planes):
        y, x = (slice(n // 2, None) for n in part.size)
        np.testing.assert_array_equal(part.read(plane, y, x), expected.read(plane, y, x))
        assert part.channel(plane) == expected.channel(plane)


def test_a_crop_reads_its_region_alone_and_keeps_what_describes_the_image() -> None:
    lazy = Recorder((1000, 3, 20000, 20000))
    metadata = Metadata({"Y": 0.1, "X": 0.1}, {"Y": "micrometer"}, ("a", "b", "c"))
    whole = as_source(lazy, "TCYX", "cells", metadata)
    part = whole.crop(T=slice(7, 9), C=slice(1, 2), Y=slice(500, 900), X=slice(-40, 64))
    again = part.crop(T=slice(1, 2), X=slice(10, None))
    assert lazy.asked == []
    assert again.shape == (1, 1, 400, 54)
    assert (again.name, again.metadata.pixel_size) == ("cells", {"Y": 0.1, "X": 0.1})
    assert again.metadata.channel_names == ("b",)
    assert again.read(0, slice(5, 8), slice(0, 9)).shape == (3, 9)
    assert lazy.asked == [(8, 1, slice(505, 508), slice(10, 19))]


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        ({"Z": slice(0, 1)}, "cannot crop Z"),
        ({"Y": slice(50, 60)}, "Y from 50 to 60 is outside image, where Y has length 40"),
        ({"X": slice(-9, -2)}, "choose a region inside the image"),
        ({"X": slice(5, 5)}, "is outside"),
    ],
)
def test_a_crop_of_nothing_is_refused(spans: dict[str, slice], words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_source(np.zeros((40, 50))).crop(**spans)


def test_a_crop_of_a_file_is_open_as_long_as_the_file(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise((5, 20, 30)))
    source = open_source(tmp_path / "a.tif", "TYX")
    part = source.crop(T=slice(2, 3))
    assert part.path == source.path
    del source
    gc.collect()
    assert part.read(0, slice(None), slice(None)).shape == (20, 30)
    with open_source(tmp_path / "a.tif", "TYX") as source:
        part = source.crop(T=slice(2, 3))
    with pytest.raises(ValueError, match="closed"):
        part.read(0, slice(None), slice(None))


@pytest.mark.parametrize(
    ("data", "axes", "words"),
    [
        (np.zeros((4, 5)), "YY", "repeated"),
        (np.zeros((4, 5)), "ZX", "Y and X"),
        (np.zeros((4, 5)), "TYX", r"'TYX' .*\(4, 5\)"),
        (np.zeros((4, 5)), "YQ", "Q is not one"),
        (np.zeros(4), None, "2 to 5 axes"),
        (np.zeros((1,) * 6), None, "2 to 5 axes"),
        (np.zeros((0, 5)), None, "empty"),
        (np.zeros((4, 5), complex), None, "complex128"),
        (np.zeros((4, 5), object), None, "object"),
        (np.zeros((4, 5), "U3"), None, "<U3"),
        (np.zeros((4, 5), [("a", "u1")]), None, "real numbers"),
        (np.zeros((40, 50, 3), "uint8"), None, "rgb"),
        ([[1, 2], [3, 4]], None, "list"),
    ],
)
def test_what_is_no_image_is_refused(data: Any, axes: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_source(data, axes)


def test_a_plane_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        as_source(np.zeros((2, 4, 4))).read(2, slice(None), slice(None))


# ---------------------------------------------------------------------------- files


def whole(source: Any) -> np.ndarray:
    return np.stack([source.read(p, slice(None), slice(None)) for p in range(source.planes)])


TIFF_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "compressed": {"compression": "zlib"},
    "tiled": {"compression": "zlib", "tile": (16, 16)},
    "big-endian": {"byteorder": ">"},
    "bigtiff": {"bigtiff": True},
    "ome": {"ome": True, "metadata": {"axes": "TYX"}},
    "ome compressed": {"ome": True, "compression": "lzw", "metadata": {"axes": "TYX"}},
    "imagej": {"imagej": True, "metadata": {"axes": "TYX"}},
}


@pytest.mark.parametrize("kind", TIFF_OPTIONS)
def test_tiff_reads_from_another_thread_and_closes(tmp_path: Path, kind: str) -> None:
    array = noise((3, 40, 50))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="minisblack", **TIFF_OPTIONS[kind])
    source = open_source(path)
    assert (source.name, source.path, source.axes, source.shape) == ("a", path, "TYX", array.shape)
    got: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: got.append(whole(source)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(got[0], array)
    np.testing.assert_array_equal(source.read(2, slice(3, 20), slice(30, 50)), array[2, 3:20, 30:])
    assert isinstance(source._data, Mapped) is not (
        kind in ("tiled", "compressed", "ome compressed")
    )
    source.close()
    with pytest.raises(ValueError, match="closed"):
        source.read(0, slice(None), slice(None))
    path.unlink()


def test_pages_of_their_own_and_a_forgotten_source(tmp_path: Path) -> None:
    array = noise((4, 20, 20))
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for page in array:
            tif.write(page, contiguous=False, photometric="minisblack", metadata=None)
    source = open_source(tmp_path / "a.tif")
    assert source.axes == "TYX"
    np.testing.assert_array_equal(whole(source), array)
    del source
    gc.collect()  # a file left open would be a ResourceWarning, hence an error


class Spy:
    def __init__(self, array: Any, asked: list[Any]) -> None:
        self.array, self.asked = array, asked

    def __getitem__(self, index: Any) -> Any:
        self.asked.append(index)
        return self.array[index]


def test_compressed_pages_are_decoded_once(tmp_path: Path, monkeypatch: Any) -> None:
    from napari_autostructn2v.engine.data.io import tiff_reading

    array = noise((6, 64, 64))
    tifffile.imwrite(tmp_path / "a.tif", array, compression="zlib", photometric="minisblack")
    with open_source(tmp_path / "a.tif") as source:
        pages = source._data
        asked: list[Any] = []
        monkeypatch.setattr(pages, "_pages", Spy(pages._pages, asked))
        for _ in range(5):
            source.read(1, slice(3, 9), slice(5, 60))
        assert asked == [(1, slice(None), slice(None))]
        for plane in range(6):
            source.read(plane, slice(0, 1), slice(0, 1))
        assert len(pages._kept) == tiff_reading._Pages.PAGES
        monkeypatch.setattr(pages, "_keep", False)
        np.testing.assert_array_equal(
            source.read(4, slice(3, 9), slice(5, 60)), array[4, 3:9, 5:60]
        )


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 8, 9), "TYX"), ((2, 3, 8, 9), "TZYX"), ((2, 2, 3, 8, 9), "TCZYX")]
)
def test_unnamed_tiff_axes(tmp_path: Path, shape: tuple[int, ...], axes: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(shape), photometric="minisblack")
    with open_source(tmp_path / "a.tif") as source:
        assert source.axes == axes
    with open_source(tmp_path / "a.tif", axes[::-1].replace("YX", "XY").lower()) as source:
        assert source.axes == axes[::-1]


def test_samples(tmp_path: Path) -> None:
    array = noise((8, 9, 4))
    tifffile.imwrite(tmp_path / "last.tif", array, photometric="minisblack", planarconfig="contig")
    with open_source(tmp_path / "last.tif") as source:
        assert (source.axes, source.channels) == ("YXC", 4)
        np.testing.assert_array_equal(whole(source), array.transpose(2, 0, 1))
    # What older tifffile made of a stack of four 8-bit frames.
    frames = noise((4, 30, 31), "uint8")
    tifffile.imwrite(tmp_path / "four.tif", frames, photometric="rgb", planarconfig="separate")
    with open_source(tmp_path / "four.tif") as source:
        assert source.axes == "SYX"
        np.testing.assert_array_equal(whole(source), frames)
    with open_source(tmp_path / "four.tif", "TYX") as source:
        assert source.axes == "TYX"


@pytest.mark.parametrize(
    ("shape", "order"),
    [((30, 31, 3), "contig"), ((30, 31, 4), "contig"), ((3, 30, 31), "separate")],
)
def test_rgb_tiff_is_refused(tmp_path: Path, shape: tuple[int, ...], order: Any) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(shape, "uint8"), photometric="rgb", planarconfig=order)
    with pytest.raises(InputError, match=r"a\.tif is an rgb image; convert it to grey"):
        open_source(path)
    if order == "separate":
        assert open_source(path, "TYX").planes == 3
    else:
        with pytest.raises(InputError, match="is an rgb image"):
            open_source(path, "YXC")


def test_imagej_metadata(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", noise((2, 3, 2, 8, 9)), imagej=True, resolution=(10, 5),
        metadata={"axes": "TZCYX", "unit": "\\u00B5m", "spacing": 0.5, "finterval": 2.5,
                  "Labels": ["green", "red"] * 6},
    )  # fmt: skip
    with open_source(tmp_path / "a.tif") as source:
        assert source.axes == "TZCYX"
        assert source.metadata == Metadata(
            {"X": 0.1, "Y": 0.2, "Z": 0.5, "T": 2.5},
            {"X": "micrometer", "Y": "micrometer", "Z": "micrometer", "T": "second"},
            ("green", "red"),
        )


def test_ome_metadata(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.ome.tif", noise((3, 2, 8, 9)), photometric="minisblack",
        metadata={"axes": "ZCYX", "PhysicalSizeX": 65, "PhysicalSizeXUnit": "nm",
                  "PhysicalSizeY": 0.07, "PhysicalSizeZ": 0.2, "PhysicalSizeZUnit": "µm",
                  "TimeIncrement": 3, "Channel": {"Name": ["DAPI", "GFP"]}},
    )  # fmt: skip
    with open_source(tmp_path / "a.ome.tif") as source:
        assert (source.name, source.axes) == ("a", "ZCYX")
        assert source.metadata.pixel_size == {"X": 65.0, "Y": 0.07, "Z": 0.2}
        assert source.metadata.units == {"X": "nanometer", "Y": "micrometer", "Z": "micrometer"}
        assert source.metadata.channel_names == ("DAPI", "GFP")


def test_resolution_in_centimetres_and_none(tmp_path: Path) -> None:
    image = noise((8, 9))
    tifffile.imwrite(tmp_path / "a.tif", image, resolution=(20000, 10000),
                     resolutionunit="CENTIMETER")  # fmt: skip
    tifffile.imwrite(tmp_path / "b.tif", image)
    assert open_source(tmp_path / "a.tif").metadata.pixel_size == {"X": 0.5, "Y": 1.0}
    assert open_source(tmp_path / "b.tif").metadata == Metadata()


@pytest.mark.parametrize("kind", [*TIFF_OPTIONS, "pages"])
@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.7, 0.93])
def test_truncated_tiff(tmp_path: Path, kind: str, share: float) -> None:
    path, array = tmp_path / "a.tif", noise((6, 64, 64))
    if kind == "pages":
        with tifffile.TiffWriter(path) as tif:
            for page in array:
                tif.write(page, contiguous=False, photometric="minisblack", metadata=None)
    else:
        tifffile.imwrite(path, array, photometric="minisblack", **TIFF_OPTIONS[kind])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"a\.tif .*(damaged|cannot be read)"):
        open_source(path)


def test_damage_inside_is_met_when_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((2, 64, 64)), compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        start, length = tif.pages[1].dataoffsets[0], tif.pages[1].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    with open_source(path) as source:
        source.read(0, slice(None), slice(None))
        with pytest.raises(InputError, match=r"a\.tif cannot be read at plane 1"):
            source.read(1, slice(None), slice(None))


def test_an_array_that_cannot_be_read_says_so() -> None:
    class Gone:
        shape, dtype = (3, 8, 8), np.dtype(np.uint8)

        def __getitem__(self, index: Any) -> Any:
            raise OSError(f"connection lost{chr(10)}at 12:00")

    source = as_source(Gone(), name="cells").crop(T=slice(1, 3))
    with pytest.raises(InputError, match=r"'cells' cannot be read at plane 2 \(connection lost\);"):
        source.read(1, slice(None), slice(None))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png(tmp_path: Path, dtype: str) -> None:
    array = noise((12, 7), dtype)
    iio.imwrite(tmp_path / "a.png", array)
    source = open_source(tmp_path / "a.png")
    assert (source.axes, source.dtype, source.size) == ("YX", np.dtype(dtype), (12, 7))
    np.testing.assert_array_equal(whole(source)[0], array)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colour_png_is_refused(tmp_path: Path, channels: int) -> None:
    iio.imwrite(tmp_path / "a.png", noise((8, 9, channels), "uint8"))
    with pytest.raises(InputError, match=r"a\.png is .*convert it to grey or split"):
        open_source(tmp_path / "a.png")


def test_palette_and_truncated_png(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "p.png", noise((8, 9, 3), "uint8"), quantize=4)
    with pytest.raises(InputError, match="palette"):
        open_source(tmp_path / "p.png")
    iio.imwrite(tmp_path / "a.png", noise((80, 90), "uint8"))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    source = open_source(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png cannot be read"):
        source.read(0, slice(None), slice(None))


def test_npy(tmp_path: Path) -> None:
    array = noise((3, 8, 9))
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(whole(open_source(tmp_path / "a.npy", "ZYX")), array)
    np.save(tmp_path / "f.npy", np.asfortranarray(array))
    np.testing.assert_array_equal(whole(open_source(tmp_path / "f.npy")), array)
    np.save(tmp_path / "b.npy", np.array([[None]]))
    with pytest.raises(InputError, match=r"b\.npy"):
        open_source(tmp_path / "b.npy")


def ome_zarr(path: Path, version: str, **changes: Any) -> np.ndarray:
    array = noise((2, 3, 16, 18))
    image = {
        "axes": [
            {"name": "t", "type": "time", "unit": "second"},
            {"name": "c", "type": "channel"},
            {"name": "y", "type": "space", "unit": "micrometer"},
            {"name": "x", "type": "space", "unit": "micrometer"},
        ],
        "datasets": [
            {"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": [2.0, 1.0, 0.2, 0.1]}]},
            {"path": "1", "coordinateTransformations": [
                {"type": "scale", "scale": [2.0, 1.0, 0.4, 0.2]}]},
        ],
        **changes,
    }  # fmt: skip
    omero = {"channels": [{"label": name} for name in ("a", "b", "c")]}
    content: dict[str, Any] = {"multiscales": [{**image, "version": version}], "omero": omero}
    old = version == "0.4"
    group = zarr.create_group(
        path, zarr_format=2 if old else 3, attributes=content if old else {"ome": content}
    )
    for level, pixels in (("0", array), ("1", array[..., ::2, ::2])):
        group.create_array(level, data=pixels, chunks=(1, 1, 8, 8))
    return array


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path: Path, version: str) -> None:
    array = ome_zarr(tmp_path / "a.ome.zarr", version)
    source = open_source(tmp_path / "a.ome.zarr")
    assert (source.name, source.axes, source.shape) == ("a", "TCYX", array.shape)
    np.testing.assert_array_equal(whole(source), array.reshape(-1, 16, 18))
    assert source.metadata == Metadata(
        {"T": 2.0, "Y": 0.2, "X": 0.1},
        {"T": "second", "Y": "micrometer", "X": "micrometer"},
        ("a", "b", "c"),
    )


@pytest.mark.parametrize("axes", [[], [{"name": n} for n in "abcd"], ["t", "c", "y"]])
def test_invalid_ome_zarr_axes_fall_back(tmp_path: Path, axes: list[Any]) -> None:
    ome_zarr(tmp_path / "a.zarr", "0.4", axes=axes)
    assert open_source(tmp_path / "a.zarr").axes == "TZYX"
    assert open_source(tmp_path / "a.zarr", "ZCYX").axes == "ZCYX"


def test_global_scale_and_strings_for_axes(tmp_path: Path) -> None:
    ome_zarr(
        tmp_path / "a.zarr", "0.4", axes=["t", "c", "y", "x"],
        coordinateTransformations=[{"type": "scale", "scale": [1, 1, 10, 5]}],
    )  # fmt: skip
    source = open_source(tmp_path / "a.zarr")
    assert source.axes == "TCYX"
    assert source.metadata.pixel_size == {"T": 2.0, "Y": 2.0, "X": 0.5}


@pytest.mark.parametrize(("names", "axes"), [(None, "TYX"), (["z", "y", "x"], "ZYX")])
def test_bare_zarr(tmp_path: Path, names: Any, axes: str) -> None:
    array = noise((3, 8, 9))
    zarr.create_array(tmp_path / "a.zarr", data=array, dimension_names=names)
    source = open_source(tmp_path / "a.zarr")
    assert source.axes == axes
    np.testing.assert_array_equal(whole(source), array)


def test_not_an_ome_zarr(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "g.zarr").create_array("a", data=noise((4, 4)))
    with pytest.raises(InputError, match=r"g\.zarr is a Zarr group without"):
        open_source(tmp_path / "g.zarr")
    assert open_source(tmp_path / "g.zarr" / "a").axes == "YX"
    (tmp_path / "e.zarr").mkdir()
    with pytest.raises(InputError, match=r"e\.zarr cannot be read"):
        open_source(tmp_path / "e.zarr")


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.npy", "a.txt", "a"])
def test_not_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello")
    with pytest.raises(InputError, match=name):
        open_source(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=name):
        open_source(tmp_path / name)


def test_complex_file_names_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 3), complex))
    with pytest.raises(InputError, match=r"a\.npy.*complex128"):
        open_source(tmp_path / "a.npy")


def test_wrong_axes_for_a_file(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise((8, 9)))
    with pytest.raises(InputError, match=r"'TYX'.*\(8, 9\)"):
        open_source(tmp_path / "a.tif", "TYX")


# -------------------------------------------------------------------------- finding


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("f10.tif", "f2.tif", ".hidden.tif"):
        tifffile.imwrite(tmp_path / name, noise((8, 9)))
    (tmp_path / "notes.txt").write_text("x")
    zarr.create_array(tmp_path / "f1.zarr", data=noise((4, 4)))
    (tmp_path / "below").mkdir()
    tifffile.imwrite(tmp_path / "below" / "deep.tif", noise((8, 9)))
    return tmp_path


def names(sources: list[Any]) -> list[str]:
    return [source.name for source in sources]


def test_find_in_a_folder(folder: Path) -> None:
    assert names(find_sources(folder)) == ["f1", "f2", "f10"]


def test_find_by_glob_each_once(folder: Path) -> None:
    assert names(find_sources([f"{folder}/f?.*", folder / "f2.tif"])) == ["f1", "f2"]
    assert names(find_sources(f"{folder}/**")) == ["deep", "f1", "f2", "f10"]
    assert names(find_sources([str(folder / "f1.zarr")])) == ["f1"]


def test_a_name_with_brackets_is_no_glob(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a[1].tif", noise((8, 9)))
    assert names(find_sources(str(tmp_path / "a[1].tif"))) == ["a[1]"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("missing.tif", r"there is no file .*missing\.tif"),
        ("below/none", "there is no file"),
        ("x*.tif", r"nothing matches .*x\*\.tif"),
        ("*.txt", r"no image in .*\*\.txt"),
        ("notes.txt", r"notes\.txt is not an image"),
        ("empty", "no image in .*empty"),
    ],
)
def test_nothing_found(folder: Path, what: str, words: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=words):
        find_sources([str(folder / what)])


def test_nothing_given() -> None:
    with pytest.raises(InputError, match="no input"):
        find_sources([])


def test_a_bad_image_among_good_ones_is_named(folder: Path) -> None:
    (folder / "f3.tif").write_text("no")
    with pytest.raises(InputError, match=r"f3\.tif"):
        find_sources(folder)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts what Linux has open")
def test_any_number_of_files_can_be_open(tmp_path: Path) -> None:
    for number in range(20):
        tifffile.imwrite(tmp_path / f"{number}.tif", noise((2, 9, 9)), compression="zlib")
    before = len(list(Path("/proc/self/fd").iterdir()))
    sources = find_sources(tmp_path)
    for source in sources:
        whole(source)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
