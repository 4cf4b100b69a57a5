"""All that a file holds is opened, each image by itself, and nothing is invented."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_autostructn2v.cli import main
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.opening import (
    find_sources,
    open_each,
    open_source,
    open_sources,
)
from napari_autostructn2v.engine.data.sink import output_paths
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.denoising import Model
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.model.model import ChannelModel
from napari_autostructn2v.engine.networks.unet import UNet

RNG = np.random.default_rng(0)
SMALL, LARGE = (40, 50), (48, 64)


def noise(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray:
    return RNG.integers(0, 200, shape).astype(dtype)


def ome_tiff(path: Path, images: list[np.ndarray], names: list[str]) -> None:
    with tifffile.TiffWriter(path, ome=True) as file:
        for image, name in zip(images, names, strict=True):
            size = {"PhysicalSizeX": 1 + len(name), "PhysicalSizeXUnit": "nm"}
            file.write(image, photometric="minisblack", metadata={"Name": name, **size})


def pages(path: Path, images: list[np.ndarray], _: list[str], **options: Any) -> None:
    with tifffile.TiffWriter(path) as file:
        for image in images:
            file.write(image, contiguous=False, photometric="minisblack", metadata=None, **options)


def compressed_pages(path: Path, images: list[np.ndarray], names: list[str]) -> None:
    pages(path, images, names, compression="zlib")


def series(path: Path, images: list[np.ndarray], _: list[str]) -> None:
    with tifffile.TiffWriter(path) as file:
        for image in images:
            file.write(image, photometric="minisblack")


def ome_zarr(group: Any, pixels: np.ndarray, name: str, **more: Any) -> None:
    group.create_array("0", data=pixels)
    axes = [{"name": axis, "type": "space"} for axis in "yx"]
    levels = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}]
    image = {"axes": axes, "datasets": levels, "name": name, **more}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}


def bioformats2raw(path: Path, images: list[np.ndarray], names: list[str]) -> None:
    root = zarr.create_group(path, attributes={"ome": {"bioformats2raw.layout": 3}})
    root.create_group("OME")
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        ome_zarr(root.create_group(str(number)), image, name)


@pytest.mark.parametrize(
    ("write", "name", "scenes"),
    [
        (ome_tiff, "a.ome.tif", ["first", "second"]),
        (pages, "a.tif", ["0", "1"]),
        (compressed_pages, "a.tif", ["0", "1"]),
        (series, "a.tif", ["0", "1"]),
        (bioformats2raw, "a.zarr", ["0", "1"]),
    ],
)
def test_every_image_of_a_file_is_opened(
    tmp_path: Path, write: Any, name: str, scenes: list[str]
) -> None:
    images = [noise(SMALL), noise(LARGE)]
    write(tmp_path / name, images, ["first", "second"])
    sources = open_sources(tmp_path / name)
    assert [source.name for source in sources] == [f"a_{scene}" for scene in scenes]
    for source, image in zip(sources, images, strict=True):
        np.testing.assert_array_equal(source.read(0, slice(None), slice(None)), image)
    assert [s.name for s in find_sources(tmp_path)] == [source.name for source in sources]
    suffix = ".zarr" if name.endswith("zarr") else ".tif"
    assert [path.name for path in output_paths(tmp_path / "out", sources)] == [
        f"a_{scene}{suffix}" for scene in scenes
    ]
    with pytest.raises(InputError, match=rf"holds 2 images \({', '.join(scenes)}\)"):
        open_source(tmp_path / name)
    for which in (1, scenes[1]):
        assert open_source(tmp_path / name, scene=which).size == LARGE
    with pytest.raises(InputError, match="has no scene 'third'; it has 2"):
        open_source(tmp_path / name, scene="third")


def test_each_scene_has_its_own_pixel_size(tmp_path: Path) -> None:
    ome_tiff(tmp_path / "a.ome.tif", [noise(SMALL), noise(LARGE)], ["ab", "abcd"])
    sizes = [source.metadata.pixel_size["X"] for source in open_sources(tmp_path / "a.ome.tif")]
    assert sizes == [3.0, 5.0]


@pytest.mark.parametrize("ome", [True, False])
def test_a_smaller_copy_is_no_image(tmp_path: Path, ome: bool) -> None:
    image = noise((3, 128, 128))
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=ome) as file:
        options: dict[str, Any] = {"photometric": "minisblack", "tile": (32, 32)}
        file.write(image, subifds=1, **options)
        file.write(image[:, ::2, ::2], subfiletype=1, **options)
    (source,) = open_sources(tmp_path / "a.tif")
    assert (source.name, source.shape) == ("a", image.shape)


@pytest.mark.parametrize(("kind", "dtype"), [(1, "uint8"), (4, "bool"), (5, "bool")])
def test_a_thumbnail_or_mask_is_left_out_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: int, dtype: str
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for image, what in ((noise(LARGE), 0), (noise((20, 20), dtype), kind)):
            file.write(
                image,
                photometric="minisblack",
                subfiletype=what,
                metadata=None,
            )
    with caplog.at_level(logging.WARNING):
        (source,) = open_sources(tmp_path / "a.tif")
    assert (source.name, source.size) == ("a", LARGE)
    assert "left out" in caplog.text


# ----------------------------------------------------------------- sets and missing planes


def ome_set(folder: Path, names: list[str], planes: int, absent: int | None = None) -> None:
    """One data set of so many planes, a file for each; of one file only the name is there."""
    ids = [f"urn:uuid:{uuid.uuid4()}" for _ in names]
    data = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">{own}</UUID>'
        "</TiffData>"
        for z, (name, own) in enumerate(zip(names, ids, strict=True))
    )
    for z, (name, own) in enumerate(zip(names, ids, strict=True)):
        text = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{own}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
            f'Type="uint16" SizeX="50" SizeY="40" SizeZ="{planes}" SizeC="1" SizeT="1">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
        )
        if z != absent:
            image = np.full(SMALL, z, "uint16")
            tifffile.imwrite(folder / name, image, description=text.encode(), metadata=None)


def test_a_set_in_several_files_is_opened_once(tmp_path: Path) -> None:
    ome_set(tmp_path, ["cell_z0.ome.tif", "cell_z1.ome.tif", "cell_z2.ome.tif"], 3)
    tifffile.imwrite(tmp_path / "other.tif", noise(SMALL))
    cells, other = find_sources(tmp_path)
    assert (cells.name, cells.shape, other.name) == ("cell_z", (3, *SMALL), "other")
    assert [cells.read(z, slice(1), slice(1)).item() for z in range(3)] == [0, 1, 2]
    assert [file.name for file, _ in open_each(tmp_path)] == ["cell_z0.ome.tif", "other.tif"]
    (alone,) = find_sources(tmp_path / "cell_z1.ome.tif")
    assert alone.shape == cells.shape


@pytest.mark.parametrize(
    "line",
    [
        "run {0} -o {1}",
        "run {0} -o o.tif --report {1}",
        "run {0} -o o.tif --save-model {1} --each",
        "analyse {0} --report {1}",
        "analyse {0} --mask-out {1}",
        "analyse {0} --plot {1}",
        "denoise {model} {0} -o {1}",
    ],
)
def test_no_file_of_a_set_is_replaced(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config.parse({"stage1": {"network": {"features": 4}}})
    unit = ChannelModel({"stage1": UNet(config.stage1.network)})
    model = Model(config, Normalisation((0.0,), (1.0,)), (unit,)).save(tmp_path / "m.asn2v")
    files = [tmp_path / f"z{z}.ome.tif" for z in range(3)]
    ome_set(tmp_path, [file.name for file in files], 3)
    before = [file.read_bytes() for file in files]
    with pytest.raises(SystemExit) as end:
        main([*line.format(files[1], files[0], model=model).split(), "--overwrite"])
    assert end.value.code == 2
    assert "would replace the input" in capsys.readouterr().err
    assert [file.read_bytes() for file in files] == before


def test_planes_that_are_only_declared_are_named_and_not_invented(tmp_path: Path) -> None:
    ome_set(tmp_path, ["z0.ome.tif", "z1.ome.tif", "z2.ome.tif"], 3, absent=1)
    with pytest.raises(InputError, match="lacks 1 of its 3 planes, the first is plane 1"):
        open_source(tmp_path / "z0.ome.tif")
    (tmp_path / "b").mkdir()
    ome_set(tmp_path / "b", ["b.ome.tif"], 4)
    with pytest.raises(InputError, match="lacks 3 of its 4 planes, the first is plane 1"):
        open_source(tmp_path / "b" / "b.ome.tif")


# ------------------------------------------------------------------------------- channels


def as_npy(path: Path, array: np.ndarray) -> Any:
    np.save(path / "a.npy", array)
    return lambda axes: open_source(path / "a.npy", axes)


def as_zarr(path: Path, array: np.ndarray) -> Any:
    zarr.create_array(path / "a.zarr", data=array)
    return lambda axes: open_source(path / "a.zarr", axes)


def as_tiff(path: Path, array: np.ndarray) -> Any:
    tifffile.imwrite(path / "a.tif", array, photometric="minisblack")
    return lambda axes: open_source(path / "a.tif", axes)


def as_array(_: Path, array: np.ndarray) -> Any:
    return lambda axes: as_source(array, axes)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", "bool"])
@pytest.mark.parametrize("channels", [2, 3, 4, 5])
@pytest.mark.parametrize("make", [as_npy, as_zarr, as_tiff, as_array])
@pytest.mark.parametrize("outer", [(), (6,)])
def test_an_unnamed_last_axis_of_few_is_never_taken_for_x(
    tmp_path: Path, make: Any, channels: int, dtype: str, outer: tuple[int, ...]
) -> None:
    opened = make(tmp_path, np.ones((*outer, 40, 50, channels), dtype))
    axes = "TYXC" if outer else "YXC"
    with pytest.raises(InputError, match=rf"name the axes \(for example {axes}\)"):
        opened(None)
    assert opened(axes).channels == channels


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("samples", [2, 4, 5])
def test_samples_that_are_no_colours_are_channels(
    tmp_path: Path, samples: int, planar: Any, compression: Any
) -> None:
    array = noise((40, 50, samples))
    stored = array if planar == "contig" else np.ascontiguousarray(array.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar,
                     extrasamples=[0] * (samples - 1), metadata=None,
                     compression=compression)  # fmt: skip
    source = open_source(tmp_path / "a.tif")
    assert source.axes == ("YXC" if planar == "contig" else "CYX")
    for k in range(samples):
        assert source.channel(k) == k
        np.testing.assert_array_equal(source.read(k, slice(None), slice(None)), array[..., k])


@pytest.mark.parametrize("kind", ["ASSOCALPHA", "UNASSALPHA"])
def test_transparency_is_no_frame(tmp_path: Path, kind: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise((40, 50, 2)), photometric="minisblack",
                     planarconfig="contig", extrasamples=[kind])  # fmt: skip
    with pytest.raises(InputError, match=r"grey image with transparency.*split its channels"):
        open_source(tmp_path / "a.tif")


@pytest.mark.parametrize("axes", ["YX", "CYX", "TCYX", "CTYX", "TYXC", "ZCYX", "TCZYX"])
def test_the_planes_of_a_channel_are_counted_without_listing_them(axes: str) -> None:
    source = as_source(np.zeros((2, 3, 4, 5, 6)[: len(axes)]), axes)
    for channel in range(source.channels):
        listed = [k for k in range(source.planes) if source.channel(k) == channel]
        counted = range(source.planes // source.channels)
        assert [source.plane_of(channel, k) for k in counted] == listed
