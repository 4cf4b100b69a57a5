"""Sinks: what is written is what is read back, files appear only complete, nothing stays behind."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr_models
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_autostructn2v.engine.data.io import tiff
from napari_autostructn2v.engine.data.io.metadata import Metadata
from napari_autostructn2v.engine.data.opening import open_source
from napari_autostructn2v.engine.data.sink import ArraySink, FileSink, cast, output_paths
from napari_autostructn2v.engine.data.source import Source, as_source
from napari_autostructn2v.engine.errors import InputError

MICRON = {"Y": "micrometer", "X": "micrometer"}
FULL = Metadata(
    {"T": 2.5, "Z": 0.5, "Y": 0.2, "X": 0.1},
    {"T": "second", "Z": "micrometer", **MICRON},
    ("DAPI", "GFP"),
)


def blank(shape: tuple[int, ...], axes: str | None = None, **kwargs: Any) -> Source:
    return as_source(np.zeros(shape, "uint16"), axes, name="img", **kwargs)


def fill(target: Any, source: Source, seed: int = 0) -> np.ndarray:
    """Write every plane in regions that fit no chunk; gives the planes, (n, Y, X)."""
    planes = np.random.default_rng(seed).integers(0, 200, (source.planes, *source.size))
    planes = planes.astype("float32")
    height, width = source.size
    for plane in range(source.planes):
        for y in range(0, height, 7):
            for x in range(0, width, 5):
                region = ((y, min(y + 7, height)), (x, min(x + 5, width)))
                (y0, y1), (x0, x1) = region
                target.write(plane, region, planes[plane, y0:y1, x0:x1])
    return planes


def all_planes(source: Source) -> np.ndarray:
    return np.stack([source.read(p, slice(None), slice(None)) for p in range(source.planes)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -------------------------------------------------------------------------- casting


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("uint8", [0.5, 1.5, 2.5, 254.7, 300, -3, np.nan, np.inf, -np.inf],
         [0, 2, 2, 255, 255, 0, 0, 255, 0]),
        ("int8", [-0.5, -1.5, -200, 200, np.nan], [0, -2, -128, 127, 0]),
        ("int32", [2**31, 2.0**31 - 128, -(2.0**40)], [2**31 - 1, 2**31 - 128, -(2**31)]),
        ("uint32", [2.0**32, 2.0**32 - 256], [2**32 - 1, 2**32 - 256]),
        ("int64", [2.0**63, -(2.0**63), 5.5], [2**63 - 1, -(2**63), 6]),
        ("float32", [1.25, np.inf], [1.25, np.inf]),
    ],
)  # fmt: skip
def test_cast(dtype: str, values: list[float], expected: list[float]) -> None:
    result = cast(np.array([values], "float32"), dtype)
    assert result.dtype == dtype
    assert result[0].tolist() == expected


@given(st.lists(st.floats(width=32), min_size=1), st.sampled_from(["uint8", "int16", "uint32"]))
@settings(deadline=None)
def test_cast_is_the_nearest_integer_that_fits(values: list[float], dtype: str) -> None:
    limits = np.iinfo(dtype)
    result = cast(np.array([values], "float32"), dtype)[0].tolist()
    for value, got in zip(values, result, strict=True):
        if value != value:
            assert got == 0
        else:
            assert got == (round(value) if limits.min < value < limits.max else
                           limits.max if value > 0 else limits.min)  # fmt: skip


# ------------------------------------------------------------------------ in memory


@st.composite
def named_shapes(draw: st.DrawFn) -> tuple[str, tuple[int, ...]]:
    outer = draw(st.lists(st.sampled_from("STCZ"), unique=True, max_size=3))
    axes = "".join(draw(st.permutations([*outer, "Y", "X"])))
    return axes, tuple(draw(st.integers(1, 9)) if a in "YX" else draw(st.integers(1, 3))
                       for a in axes)  # fmt: skip


@given(named_shapes())
@settings(max_examples=60, deadline=None)
def test_array_has_the_axes_of_its_source(image: tuple[str, tuple[int, ...]]) -> None:
    axes, shape = image
    source = blank(shape, axes)
    sink = ArraySink()
    target = sink.open(0, source, "stage2", np.dtype("uint16"), True)
    assert target is not None
    planes = fill(target, source)
    target.commit()
    result = sink.final[0]
    assert (result.shape, result.dtype) == (shape, np.dtype("uint16"))
    np.testing.assert_array_equal(all_planes(as_source(result, axes)), planes)


def test_array_sink_keeps_what_was_asked_for() -> None:
    source, dtype = blank((4, 4)), np.dtype("float32")
    sink = ArraySink()
    assert sink.open(0, source, "stage1", dtype, False) is None
    both = ArraySink(every_stage=True)
    first = both.open(0, source, "stage1", dtype, False)
    last = both.open(0, source, "stage2", dtype, True)
    assert first is not None
    assert last is not None
    assert set(both.results) == {(0, "stage1"), (0, "stage2")}
    assert both.final[0] is both.results[0, "stage2"] is last.array
    assert first.keep_partial() is None
    last.discard()
    assert set(both.results) == {(0, "stage1")}
    assert both.final == {}


def test_a_committed_array_stays() -> None:
    sink = ArraySink()
    target = sink.open(0, blank((4, 4)), "stage2", np.dtype("u2"), True)
    assert target is not None
    target.commit()
    target.discard()
    assert 0 in sink.final


def test_more_than_memory(monkeypatch: Any) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    source = blank((4, 4))
    monkeypatch.setattr(np, "zeros", full)
    with pytest.raises(InputError, match="GiB"):
        ArraySink().open(0, source, "stage2", np.dtype("u2"), True)


def test_a_block_that_does_not_fit_its_region_is_a_bug() -> None:
    target = ArraySink().open(0, blank((4, 4)), "stage2", np.dtype("u2"), True)
    assert target is not None
    with pytest.raises(ValueError, match="region"):
        target.write(0, ((0, 2), (0, 2)), np.zeros((1, 1), "float32"))


# ---------------------------------------------------------------------------- files


def open_file(path: Path, source: Source, dtype: str = "uint16", **kwargs: Any) -> Any:
    target = FileSink([path], **kwargs).open(0, source, "stage2", np.dtype(dtype), True)
    assert target is not None
    return target


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
@given(
    image=named_shapes(), dtype=st.sampled_from(["uint8", "uint16", "int32", "float32", "int64"])
)
@settings(max_examples=30, deadline=None)
def test_what_is_written_is_what_is_read_back(
    tmp_path_factory: Any, suffix: str, image: tuple[str, tuple[int, ...]], dtype: str
) -> None:
    axes, shape = image
    folder = tmp_path_factory.mktemp("out")
    source = blank(shape, axes)
    target = open_file(folder / f"clean{suffix}", source, dtype)
    planes = fill(target, source)

    def shown() -> np.ndarray:
        array = np.asarray(target.array[...])
        return all_planes(as_source(array.transpose([target.axes.index(a) for a in axes]), axes))

    np.testing.assert_array_equal(shown(), planes)
    assert names(folder)[0].startswith(".")
    target.commit()
    assert names(folder) == [f"clean{suffix}"]
    np.testing.assert_array_equal(shown(), planes)  # a viewer may go on showing it
    with open_source(folder / f"clean{suffix}") as result:
        assert result.dtype == np.dtype(dtype)
        kept = dict(zip(axes, shape, strict=True))
        found = dict(zip(result.axes, result.shape, strict=True))
        if "S" not in axes:
            assert {a: n for a, n in found.items() if n > 1} == {
                a: n for a, n in kept.items() if n > 1
            }
        if [a for a in axes if a in "TZC"] == [a for a in result.axes if a in "TZC"]:
            np.testing.assert_array_equal(all_planes(result), planes)
        else:
            assert sorted(all_planes(result).ravel()) == sorted(planes.ravel())


@pytest.mark.parametrize(
    ("suffix", "dtype", "kind"),
    [(".tif", "uint16", "imagej"), (".tif", "float32", "imagej"), (".tif", "int16", "ome"),
     (".tif", "uint32", "ome"), (".tif", "int64", "shaped"), (".tiff", "uint8", "imagej"),
     (".zarr", "uint16", "")],
)  # fmt: skip
def test_metadata_is_kept(tmp_path: Path, suffix: str, dtype: str, kind: str) -> None:
    source = blank((2, 3, 2, 8, 9), "TZCYX", metadata=FULL)
    path = tmp_path / f"clean{suffix}"
    target = open_file(path, source, dtype)
    fill(target, source)
    target.commit()
    with open_source(path) as result:
        assert sorted(result.axes) == sorted("TZCYX")
        assert result.metadata.pixel_size == pytest.approx(dict(FULL.pixel_size), rel=1e-6)
        assert result.metadata.units == FULL.units
        assert result.metadata.channel_names == FULL.channel_names
    if kind:
        with tifffile.TiffFile(path) as tif:
            assert tif.series[0].kind == kind
            assert len(tif.pages) == 12


def test_more_than_imagej_holds_is_ome_bigtiff(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(tiff, "IMAGEJ_LIMIT", 100)
    target = open_file(tmp_path / "a.tif", blank((3, 8, 9), metadata=Metadata({"X": 1.5}, MICRON)))
    target.commit()
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_bigtiff
        assert tif.series[0].kind == "ome"
        assert tif.series[0].axes == "TYX"


def test_units_that_differ_meet_in_one_for_imagej(tmp_path: Path) -> None:
    metadata = Metadata(
        {"Z": 300.0, "Y": 0.1, "X": 0.1, "T": 500.0},
        {"Z": "nanometer", **MICRON, "T": "millisecond"},
    )
    open_file(tmp_path / "a.tif", blank((2, 2, 8, 9), "TZYX", metadata=metadata)).commit()
    with open_source(tmp_path / "a.tif") as result:
        assert result.metadata.pixel_size == pytest.approx({"Z": 0.3, "Y": 0.1, "X": 0.1, "T": 0.5})


def test_nothing_is_invented_where_nothing_is_known(tmp_path: Path) -> None:
    for suffix in (".tif", ".zarr"):
        open_file(tmp_path / f"a{suffix}", blank((3, 8, 9))).commit()
        with open_source(tmp_path / f"a{suffix}") as result:
            assert result.metadata == Metadata()


def test_ome_zarr_is_valid(tmp_path: Path) -> None:
    source = blank((2, 3, 600, 700), "CTXY", metadata=FULL)
    target = open_file(tmp_path / "a.zarr", source)
    target.write(0, ((0, 2), (0, 1)), np.array([[3.0], [np.nan]], "float32"))
    target.commit()
    model = ome_zarr_models.open_ome_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r"))
    assert model.ome_zarr_version == "0.5"
    channels = model.ome_attributes.omero["channels"]
    assert [channel["label"] for channel in channels] == ["DAPI", "GFP"]
    assert channels[0]["window"] == {"min": 0, "max": 3, "start": 0, "end": 3}
    array = zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")
    assert array.shape == (3, 2, 700, 600)
    assert array.chunks == (1, 1, 512, 512)
    assert array.metadata.dimension_names == ("t", "c", "y", "x")


def test_one_pixel_wide_in_a_tiff(tmp_path: Path) -> None:
    source = blank((3, 5, 1))
    target = open_file(tmp_path / "a.tif", source)
    planes = fill(target, source)
    target.commit()
    np.testing.assert_array_equal(all_planes(open_source(tmp_path / "a.tif")), planes)


def test_nothing_is_written_into_a_complete_file(tmp_path: Path) -> None:
    for suffix in (".tif", ".zarr"):
        target = open_file(tmp_path / f"a{suffix}", blank((4, 4)))
        target.commit()
        with pytest.raises(ValueError, match="complete"):
            target.write(0, ((0, 1), (0, 1)), np.ones((1, 1), "float32"))


def test_a_result_may_be_filled_by_another_thread_and_is_mapped_not_held(tmp_path: Path) -> None:
    source = blank((2, 16, 16))
    target = open_file(tmp_path / "a.tif", source)
    thread = threading.Thread(target=fill, args=(target, source))
    thread.start()
    thread.join()
    assert isinstance(target.array, np.memmap)
    target.commit()
    assert all_planes(open_source(tmp_path / "a.tif")).any()


# --------------------------------------------------------------- names and overwriting


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_discard_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    source = blank((2, 16, 16))
    target = open_file(tmp_path / "new" / "deep" / f"a{suffix}", source)
    fill(target, source)
    target.discard()
    target.discard()
    assert names(tmp_path) == []
    assert target.keep_partial() is None


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_a_partial_result_is_kept(tmp_path: Path, suffix: str) -> None:
    source = blank((2, 16, 16))
    for expected in (f"a.partial{suffix}", f"a.partial-2{suffix}"):
        target = open_file(tmp_path / f"a{suffix}", source)
        target.write(1, ((0, 4), (0, 4)), np.full((4, 4), 9, "float32"))
        assert target.keep_partial() == tmp_path / expected
        target.discard()
        with open_source(tmp_path / expected) as result:
            planes = all_planes(result)
        assert planes[1, :4, :4].min() == 9
        assert planes.sum() == 9 * 16
    assert names(tmp_path) == sorted([f"a.partial{suffix}", f"a.partial-2{suffix}"])
    untouched = open_file(tmp_path / f"b{suffix}", source)
    assert untouched.keep_partial() is None
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_existing_output(tmp_path: Path, suffix: str) -> None:
    path, source = tmp_path / f"a{suffix}", blank((2, 16, 16))
    first = open_file(path, source)
    fill(first, source, seed=1)
    first.commit()
    before = all_planes(open_source(path))
    with pytest.raises(InputError, match=rf"a\{suffix} exists; .*--overwrite"):
        FileSink([path])
    second = open_file(path, source, overwrite=True)
    planes = fill(second, source, seed=2)
    np.testing.assert_array_equal(all_planes(open_source(path)), before)  # until it is complete
    second.commit()
    np.testing.assert_array_equal(all_planes(open_source(path)), planes)
    assert names(tmp_path) == [path.name]


def test_a_failed_swap_puts_the_old_folder_back(tmp_path: Path, monkeypatch: Any) -> None:
    path, source = tmp_path / "a.zarr", blank((16, 16))
    first = open_file(path, source)
    planes = fill(first, source)
    first.commit()
    second = open_file(path, source, overwrite=True)
    real = os.replace

    def replace(old: Path, new: Path) -> None:
        if old == second._temporary:
            raise PermissionError(errno.EACCES, "in use")
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(InputError, match=rf"in use; the result is kept as {second._temporary}"):
        second.commit()
    second.discard()
    np.testing.assert_array_equal(all_planes(open_source(path)), planes)
    assert names(tmp_path) == [second._temporary.name, "a.zarr"]  # whole, and told


def test_output_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = open_file(tmp_path / "a.tif", blank((4, 4)))
    (tmp_path / "a.tif").write_text("precious")
    with pytest.raises(InputError, match=r"meanwhile .* is kept as .*a-2\.tif"):
        target.commit()
    target.discard()
    assert (tmp_path / "a.tif").read_text() == "precious"
    assert open_source(tmp_path / "a-2.tif").shape == (4, 4)
    assert names(tmp_path) == ["a-2.tif", "a.tif"]


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
@pytest.mark.parametrize("end", ["write", "commit", "keep_partial"])
def test_half_a_result_gets_no_name_where_its_folder_was_removed(
    tmp_path: Path, suffix: str, end: str
) -> None:
    source = blank((2, 600, 600))
    path = tmp_path / "out" / f"a{suffix}"
    target = open_file(path, source)
    target.write(0, ((0, 4), (0, 4)), np.ones((4, 4), "float32"))
    shutil.rmtree(path.parent)
    if suffix == ".zarr" and end != "write":  # as by a block that was on its way
        target._storage.write((1, slice(0, 4), slice(0, 4)), np.ones((4, 4), "uint16"))
    if end == "keep_partial":
        assert target.keep_partial() is None
    else:
        block = (1, ((0, 4), (0, 4)), np.ones((4, 4), "float32"))
        with pytest.raises(InputError, match=r"a\.(tif|zarr) cannot be written: "):
            getattr(target, end)(*block if end == "write" else ())
    target.discard()
    assert [p for p in tmp_path.rglob("*") if p.name != "out"] == []


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_runs_to_one_name_nothing_is_lost(
    tmp_path: Path, suffix: str, overwrite: bool
) -> None:
    path, source = tmp_path / f"a{suffix}", blank((2, 16, 16))
    sink = FileSink([path], overwrite)
    one, two = (sink.open(0, source, "stage2", np.dtype("uint16"), True) for _ in range(2))
    assert one is not None
    assert two is not None
    planes = [fill(one, source, seed=1), fill(two, source, seed=2)]
    one.commit()
    if overwrite:
        two.commit()
        np.testing.assert_array_equal(all_planes(open_source(path)), planes[1])
        assert names(tmp_path) == [path.name]
        assert sink.kept == []
        return
    with pytest.raises(InputError, match=r"is kept as .*a-2"):
        two.commit()
    for name, expected in zip((path.name, f"a-2{suffix}"), planes, strict=True):
        np.testing.assert_array_equal(all_planes(open_source(tmp_path / name)), expected)
    assert len(names(tmp_path)) == 2
    assert sink.kept == [tmp_path / f"a-2{suffix}"]


def test_what_cannot_be_finished_gets_no_final_name(tmp_path: Path, monkeypatch: Any) -> None:
    target = open_file(tmp_path / "a.tif", blank((4, 4)))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"disk full.*is kept as .*a\.partial\.tif"):
        target.commit()
    assert names(tmp_path) == ["a.partial.tif"]


def test_a_partial_result_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.partial.tif").write_text("precious")
    target = open_file(tmp_path / "a.tif", blank((4, 4)), overwrite=True)
    target.write(0, ((0, 4), (0, 4)), np.ones((4, 4), "float32"))
    assert target.keep_partial() == tmp_path / "a.partial-2.tif"
    assert (tmp_path / "a.partial.tif").read_text() == "precious"


def test_folders_that_are_no_results_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.tif").mkdir()
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "thesis.txt").write_text("precious")
    for name in ("a.tif", "b.zarr"):
        with pytest.raises(InputError, match="not overwritten"):
            FileSink([tmp_path / name], overwrite=True)


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.npy"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"\.tif or \.zarr"):
        FileSink([tmp_path / name])


def test_two_results_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two outputs"):
        FileSink([tmp_path / "a.tif", tmp_path / "." / "a.tif"])


def test_unwritable_places_are_met_before_the_work(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"a\.tif cannot be written"):
        FileSink([tmp_path / "file" / "a.tif"])

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        FileSink([tmp_path / "a.tif"])
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_an_input_is_never_replaced(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    open_file(path, blank((4, 4))).commit()
    (tmp_path / f"link{suffix}").symlink_to(path)
    with open_source(path) as source:
        for out in (path, tmp_path / f"link{suffix}", tmp_path / ".." / tmp_path.name / path.name):
            with pytest.raises(InputError, match="would replace the input"):
                open_file(out, source, overwrite=True)
            with pytest.raises(InputError, match="would replace the input"):
                output_paths(out, [source])
        with pytest.raises(InputError, match="would replace the input"):
            output_paths(tmp_path, [source, blank((4, 4))])
        if suffix == ".zarr":
            with pytest.raises(InputError, match="would lie in the input"):
                open_file(path / "clean.zarr", source)


def test_stages_go_to_their_own_files(tmp_path: Path) -> None:
    source, dtype = blank((4, 4)), np.dtype("uint8")
    sink = FileSink([tmp_path / "a.tif"], every_stage={"stage1": [tmp_path / "s1" / "a.tif"]})
    assert names(tmp_path) == []
    first = sink.open(0, source, "stage1", dtype, False)
    assert first is not None
    first.commit()
    assert sink.open(0, source, "stage2", dtype, False) is None
    last = sink.open(0, source, "stage1", dtype, True)
    assert last is not None
    last.commit()
    assert names(tmp_path) == ["a.tif", "s1"]
    assert names(tmp_path / "s1") == ["a.tif"]


# ------------------------------------------------------------------------- full disk


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_too_little_room_is_told_at_once(tmp_path: Path, monkeypatch: Any, suffix: str) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=31)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=rf"disk full: .*a\{suffix} needs 32 bytes"):
        open_file(tmp_path / "new" / f"a{suffix}", blank((4, 4)))
    assert names(tmp_path) == []


def test_space_is_claimed_before_it_is_mapped(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(InputError, match="disk full"):
        open_file(tmp_path / "a.tif", blank((4, 4)))
    assert names(tmp_path) == []


@pytest.mark.parametrize("claim", [True, False])
def test_no_holes(tmp_path: Path, monkeypatch: Any, claim: bool) -> None:
    if not claim:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    target = open_file(tmp_path / "a.tif", blank((3, 1000, 999)))
    temporary = next(tmp_path.iterdir())
    assert temporary.stat().st_blocks * 512 >= 3 * 1000 * 999 * 2
    target.commit()
    with open_source(tmp_path / "a.tif") as result:
        assert result.shape == (3, 1000, 999)
        assert not all_planes(result).any()


def test_a_disk_that_fills_while_writing(tmp_path: Path, monkeypatch: Any) -> None:
    target = open_file(tmp_path / "a.zarr", blank((4, 4)))

    class Full:
        dtype, shape = np.dtype("uint16"), (4, 4)

        def __setitem__(self, index: Any, values: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(target._storage, "array", Full())
    with pytest.raises(InputError, match="disk full"):
        target.write(0, ((0, 4), (0, 4)), np.ones((4, 4), "float32"))
    target.discard()
    assert names(tmp_path) == []


# -------------------------------------------------------------------- naming results


def test_one_input_one_file(tmp_path: Path) -> None:
    assert output_paths(tmp_path / "c.tif", [blank((4, 4))]) == [tmp_path / "c.tif"]
    assert output_paths(tmp_path / "c", [blank((4, 4))]) == [tmp_path / "c" / "img.tif"]
    with pytest.raises(InputError, match=r"not \.jpg"):
        output_paths(tmp_path / "c.jpg", [blank((4, 4))])


def test_several_inputs_one_folder(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "z.zarr", data=np.zeros((4, 4)))
    odd = as_source(np.zeros((4, 4)), name="../a:b")
    sources = [blank((4, 4)), blank((4, 4)), open_source(tmp_path / "z.zarr"), odd]
    out = tmp_path / "out"
    assert output_paths(out, sources) == [
        out / "img.tif", out / "img-2.tif", out / "z.zarr", out / "_a_b.tif",
    ]  # fmt: skip
    with pytest.raises(InputError, match="one file for 4 inputs; name a folder"):
        output_paths(tmp_path / "c.tif", sources)
