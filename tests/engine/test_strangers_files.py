"""A stranger's file does no harm: it is opened or refused in one short sentence, and at once."""

from __future__ import annotations

import json
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tifffile
import zarr

from napari_autostructn2v.engine.data import files
from napari_autostructn2v.engine.data.io.find import find_files
from napari_autostructn2v.engine.data.io.mark import is_ours
from napari_autostructn2v.engine.data.opening import find_sources, open_source, open_sources
from napari_autostructn2v.engine.data.sampling import sample_pieces
from napari_autostructn2v.engine.data.sink import FileSink
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.reporting.figure import Page

RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 200, shape).astype("uint16")


def read(path: Path) -> None:
    for source in open_sources(path):
        source.read(0, slice(0, 8), slice(0, 8))


def refused(path: Path, *words: str) -> str:
    """Open and read a file, which must be refused without taking much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert path.name in text
    assert len(text.splitlines()) == 1
    for word in words:
        assert word in text
    return text


# ------------------------------------------------------------------------------------ TIFF


def two_pages(path: Path, big: bool, order: Any) -> tuple[list[int], str]:
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as file:
        for n in (64, 48):
            file.write(noise(n, 64), contiguous=False, metadata=None, subifds=1)
            file.write(noise(n // 2, 32), subfiletype=1, metadata=None)
    with tifffile.TiffFile(path) as tif:
        return [page.offset for page in tif.pages], order


def point(path: Path, directory: int, target: int, big: bool, order: str) -> None:
    """Let a directory say that another comes after it."""
    content = bytearray(path.read_bytes())
    count, entry, offset = ("Q", 20, "Q") if big else ("H", 12, "I")
    (tags,) = struct.unpack_from(order + count, content, directory)
    struct.pack_into(
        order + offset, content, directory + struct.calcsize(count) + entry * tags, target
    )
    path.write_bytes(content)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("last", "to"), [(1, 0), (1, 1), (0, 0)])
def test_directories_in_a_circle(tmp_path: Path, big: bool, order: str, last: int, to: int) -> None:
    path = tmp_path / "a.tif"
    offsets, _ = two_pages(path, big, order)
    assert len(open_sources(path)) == 2
    point(path, offsets[last], offsets[to], big, order)
    refused(path, "its directories form a circle")


def test_a_directory_below_that_is_one_above(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    offsets, _ = two_pages(path, False, "<")
    with tifffile.TiffFile(path) as tif:
        where = tif.pages[1].tags["SubIFDs"].valueoffset
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, where, offsets[0])
    path.write_bytes(content)
    refused(path, "circle")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tag", ["ImageWidth", "ImageLength"])
def test_a_tiff_that_declares_what_it_does_not_hold(
    tmp_path: Path, tag: str, compression: Any
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(64, 64), compression=compression, metadata=None, rowsperstrip=16)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags[tag].overwrite(100_000_000, dtype="I")
    refused(path)


# ----------------------------------------------------------------------------- PNG and npy


def test_a_png_that_declares_far_too_much(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 10**5, 10**5, 16, 0, 0, 0, 0))
    rest = chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + rest)
    refused(tmp_path / "a.png", "18.6 GiB")


@pytest.mark.parametrize("at", [0.3, 0.5, 0.9])
def test_a_damaged_png_is_told_in_one_line(tmp_path: Path, capfd: Any, at: float) -> None:
    import imagecodecs

    content = bytearray(imagecodecs.png_encode(noise(64, 64)))
    content[int(at * len(content))] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    refused(tmp_path / "a.png", "checksum")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("shape", [(10**15, 64), (10**5, 10**5, 10**5), (2**62, 2**62)])
def test_an_npy_that_declares_far_too_much(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "<u2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(1000))
    refused(tmp_path / "a.npy")


# ------------------------------------------------------------------------------------ Zarr


def array_file(path: Path, **changes: Any) -> Path:
    path.mkdir()
    about = {
        "zarr_format": 2, "shape": [64, 64], "chunks": [64, 64], "dtype": "<f4", "fill_value": 0,
        "order": "C", "filters": None, "compressor": None, **changes,
    }  # fmt: skip
    (path / ".zarray").write_text(json.dumps(about))
    return path


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harm",)


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": [{"id": "pickle", "protocol": 5}]},
        {"compressor": {"id": "pickle", "protocol": 5}},
        {"filters": [{"id": "pickle"}], "dtype": "|O"},
        {"dtype": "|O"},
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_zarr_that_would_run_code(
    tmp_path: Path, monkeypatch: Any, changes: dict[str, Any], inside: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.zarr"
    if inside:
        levels = [{"path": "0"}]
        zarr.create_group(
            path, zarr_format=2,
            attributes={"multiscales": [{"axes": ["y", "x"], "datasets": levels}]},
        )  # fmt: skip
    array = array_file(path / "0" if inside else path, **changes)
    (array / "0.0").write_bytes(pickle.dumps(Harmful()))
    refused(path, "pickle codec, which can run code")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("nested", [False, True])
def test_the_codecs_of_zarr_3_are_looked_into(tmp_path: Path, nested: bool) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=noise(16, 16), shards=(16, 16), chunks=(8, 8))
    file = tmp_path / "a.zarr" / "zarr.json"
    about = json.loads(file.read_text())
    chain = about["codecs"][0]["configuration"]["codecs"] if nested else about["codecs"]
    chain.append({"name": "numcodecs.pickle", "configuration": {}})
    file.write_text(json.dumps(about))
    refused(tmp_path / "a.zarr", "pickle codec")


@pytest.mark.parametrize(
    ("shape", "chunks", "words"),
    [
        ([10**12, 64, 64], [1, 64, 64], "1e+12 planes"),
        ([10**6, 10**6], [10**6, 10**6], "3.73e+03 GiB"),
    ],
)
def test_a_zarr_that_declares_far_too_much(
    tmp_path: Path, shape: list[int], chunks: list[int], words: str
) -> None:
    refused(array_file(tmp_path / "a.zarr", shape=shape, chunks=chunks), words)


def test_planes_are_chosen_without_listing_them() -> None:
    class Many:
        shape, dtype = (2**20, 64, 64), np.dtype("uint16")

        def __getitem__(self, index: Any) -> np.ndarray:
            raise AssertionError

    tracemalloc.start()
    chosen = sample_pieces(as_source(Many()), 0, np.random.default_rng(0))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    assert len({piece.plane for piece in chosen}) == len(chosen) == 512


def image(group: Any, path: str | None = "0", there: bool = True) -> None:
    if there:
        group.create_array("0", data=noise(40, 40))
    axes = [{"name": axis, "type": "space"} for axis in "yx"]
    levels = [{"path": path}] if path else []
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    path = tmp_path / "p.zarr"
    root = zarr.create_group(path)
    root.attrs["ome"] = {"version": "0.5", "plate": {"wells": [{"path": "A/1"}]}}
    for number in range(2):
        image(root.create_group(f"A/1/{number}"))
    root["A/1"].attrs["ome"] = {"version": "0.5", "well": {"images": []}}
    return path


def test_a_plate_names_its_fields_and_a_glob_finds_them(plate: Path) -> None:
    refused(plate, "plate of many images", str(plate / "A/1/0"), str(plate / "*/*/*"))
    refused(plate / "A" / "1", "well of many images")
    for pattern in (f"{plate}/*/*/*", f"{plate.parent}/*.zarr/A/1/[01]"):
        assert [source.name for source in find_sources(pattern)] == ["p_A_1_0", "p_A_1_1"]
    assert find_files(f"{plate.parent}/**") == [plate]


@pytest.mark.parametrize(
    ("path", "there", "words"),
    [
        ("5", True, "lacks its level 5"),
        ("0", False, "lacks its level 0"),
        (None, True, "without levels"),
    ],
)
def test_a_zarr_without_its_pixels(
    tmp_path: Path, path: str | None, there: bool, words: str
) -> None:
    image(zarr.create_group(tmp_path / "a.zarr"), path, there)
    refused(tmp_path / "a.zarr", words)


def test_a_zipped_zarr(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zarr", "w") as packed:
        packed.writestr("zarr.json", "{}")
    refused(tmp_path / "a.zarr", "zipped Zarr; unpack it")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy", ".zarr"])
def test_a_pipe_is_no_image(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"a{suffix}")
    refused(tmp_path / f"a{suffix}", "is not an image")
    tifffile.imwrite(tmp_path / "b.tif", noise(8, 9))
    assert [source.name for source in find_sources(tmp_path)] == ["b"]


def test_too_little_memory_for_a_block_is_told() -> None:
    class Vast:
        shape, dtype = (3, 64, 64), np.dtype("uint16")

        def __getitem__(self, index: Any) -> np.ndarray:
            raise MemoryError

    with pytest.raises(InputError, match="cells cannot be read at plane 2: not enough memory"):
        as_source(Vast(), "TYX", "cells").read(2, slice(8), slice(8))


# ---------------------------------------------------------------------------- our own files


def result(path: Path) -> None:
    source = as_source(noise(8, 9))
    target = FileSink([path]).open(0, source, "stage2", source.dtype, True)
    assert target is not None
    target.commit()


def partial(path: Path) -> None:
    source = as_source(noise(8, 9))
    target = FileSink([path]).open(0, source, "stage2", source.dtype, True)
    assert target is not None
    target.write(0, ((0, 1), (0, 1)), np.ones((1, 1), "float32"))
    target.keep_partial()


def page(path: Path) -> None:
    Page(2, 2, "noise").save(path)


def mask(path: Path) -> None:
    files.write_tiff(path, np.ones((1, 9), "uint8"))


OURS = [
    (result, "r.tif"), (result, "r.ome.tif"), (result, "r.zarr"), (partial, "r.tif"),
    (partial, "r.zarr"), (page, "p.png"), (mask, "m.tif"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "name"), OURS)
def test_what_was_written_here_is_found_only_by_name(tmp_path: Path, write: Any, name: str) -> None:
    write(tmp_path / name)
    (own,) = tmp_path.iterdir()
    assert is_ours(own)
    with pytest.raises(InputError, match=r"all images in .* written by this program; to open one"):
        find_files(tmp_path)
    image = tmp_path / "image.tif"
    tifffile.imwrite(image, noise(8, 9))
    assert find_files(tmp_path) == find_files(f"{tmp_path}/*") == [image]
    assert find_files([own, tmp_path]) == [own, image]
    if write is not page:
        assert open_source(own).planes == 1


def test_the_image_of_the_demo_is_an_image(tmp_path: Path) -> None:
    files.write_tiff(tmp_path / "noisy.tif", noise(8, 9), software="")
    assert not is_ours(tmp_path / "noisy.tif")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("separator", [".", "/"])
def test_a_blosc_frame_that_ends_beyond_its_file_is_not_decoded(
    tmp_path: Path, version: Any, separator: str
) -> None:
    path = tmp_path / "a.zarr"
    codec: Any = zarr.codecs.BloscCodec() if version == 3 else numcodecs.Blosc()
    key: Any = {"name": "v2" if version == 2 else "default", "separator": separator}
    array = zarr.create_array(
        path, shape=(2, 16, 16), chunks=(1, 8, 8), dtype="u2", zarr_format=version,
        compressors=codec, chunk_key_encoding=key,
    )  # fmt: skip
    array[...] = image = noise(2, 16, 16)
    for length in (2**24 + 1, 2**31 - 1):  # of the frame; numcodecs would read on to there
        first = min(file for file in path.rglob("*0") if file.is_file())
        np.testing.assert_array_equal(
            open_source(path).read(1, slice(0, 16), slice(0, 16)), image[1]
        )
        content = first.read_bytes()
        first.write_bytes(content[:12] + struct.pack("<L", length) + content[16:])
        refused(path, f"of {length} bytes")
        first.write_bytes(content[:10])
        refused(path, "has 10 of")
        first.write_bytes(content)
