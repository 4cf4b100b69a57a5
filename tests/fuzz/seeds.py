"""A small valid input of every kind that the program reads: what the mutations begin with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
import torch
import zarr

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.denoising import Model
from napari_autostructn2v.engine.model.model import ChannelModel
from napari_autostructn2v.engine.networks.unet import UNet

Files = dict[str, bytes]
"""The files of an input by their names; those of a Zarr have its name before a slash."""

_SHAPE = (48, 56)
_OME = {
    "axes": "TCYX",
    "PhysicalSizeX": 0.5,
    "Channel": {"Name": ["a", "b"]},
    "UUID": "urn:uuid:00000000-0000-1000-8000-000000000000",  # else another each time
}


def _noise(*outer: int, dtype: str = "uint16") -> Any:
    values = np.random.default_rng(0).normal(1000, 100, (*outer, *_SHAPE))
    return (values / 8 if dtype == "uint8" else values).astype(dtype)


def _tiff(*outer: int, dtype: str = "uint16", **options: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, _noise(*outer, dtype=dtype), **options)


def _png(dtype: str) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(imagecodecs.png_encode(_noise(dtype=dtype))) and None


def _mixed_pages(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        file.write(_noise(2))
        file.write(_noise()[:20, :20], compression="lzw")


def _zarr(version: Any, *outer: int, **attributes: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        image = _noise(*outer)
        chunks = (1,) * len(outer) + (32, 32)
        options = {"shape": image.shape, "dtype": image.dtype, "chunks": chunks}
        if attributes:
            group = zarr.create_group(path, zarr_format=version, attributes=attributes)
            array = group.create_array("0", **options)
        else:
            array = zarr.create_array(path, zarr_format=version, **options)
        array[...] = image

    return write


def _multiscales(*axes: str) -> dict[str, Any]:
    kinds = {"t": "time", "c": "channel"}
    scale = {"type": "scale", "scale": [0.5] * len(axes)}
    return {
        "multiscales": [
            {
                "version": "0.4",
                "axes": [{"name": a, "type": kinds.get(a, "space"), "unit": ""} for a in axes],
                "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
            }
        ],
        "omero": {"channels": [{"label": "a", "color": "00FF00"}, {"label": "b"}]},
    }


def _model(path: Path) -> None:
    network = {"network": {"features": 4, "depth": 1, "batch_norm": True}}
    config = Config.parse({"network_per_channel": True, "stage1": network, "stage2": network})
    torch.manual_seed(0)
    units = tuple(
        ChannelModel(
            {stage: UNet(settings.network) for stage, settings in config.stages.items()},
            np.ones((1, 3), np.uint8), np.eye(5), 3.5, "along x", "stage1", channel,
        )
        for channel in range(2)
    )  # fmt: skip
    record = {"name": "stage1", "steps": 2, "seconds": 0.5, "channel": 0}
    provenance = {"sources": ["a"], "stages": [record], "seconds": 0.5, "versions": {"a": "1"}}
    Model(config, Normalisation((100.0, 7.0), (20.0, 1.0)), units, provenance).save(path)


def _config(path: Path) -> None:
    config = Config.parse({"structure": {"mask_source": "array", "mask": [[1, 1, 1]]}})
    path.write_text(config.model_dump_json())


def _original(path: Path) -> None:
    stage = {"features": 32, "num_layers": 2, "masking_strategy": 1, "use_augmentation": True}
    structural = {"mask_source": "stage1", "extractor": {"center_size": 9, "adapt_CB": 20.0}}
    values = {"input_dir": "data", "num_epochs": 3, "split_ratio": [0.6, 0.2, 0.2]}
    path.write_text(json.dumps(values | {"stage1": stage, "stage2": stage | structural}))


def _mask(path: Path) -> None:
    mask = np.zeros((3, 7), np.uint8)
    mask[1] = 255
    if path.suffix == ".npy":
        np.save(path, mask)
    elif path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(mask))
    else:
        tifffile.imwrite(path, mask)


_SEEDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "TIFF": ("a.tif", _tiff(dtype="float32")),
    "TIFF, big": ("a.tif", _tiff(2, bigtiff=True)),
    "TIFF, ImageJ": ("a.tif", _tiff(2, 3, imagej=True, metadata={"axes": "TCYX", "unit": "um"})),
    "TIFF, OME": ("a.ome.tif", _tiff(2, 2, metadata=_OME)),
    "TIFF, packed": ("a.tif", _tiff(2, compression="zlib", tile=(16, 16), predictor=True)),
    "TIFF, strips": ("a.tif", _tiff(compression="lzw", rowsperstrip=8)),
    "TIFF, pages": ("a.tiff", _mixed_pages),
    "PNG": ("a.png", _png("uint8")),
    "PNG, 16 bit": ("a.png", _png("uint16")),
    "npy": ("a.npy", lambda path: np.save(path, _noise(2))),
    "npy, Fortran": ("a.npy", lambda path: np.save(path, _noise(dtype="float64").T)),
    "Zarr 2": ("a.zarr", _zarr(2, 2)),
    "Zarr 3": ("a.zarr", _zarr(3, 2)),
    "OME-Zarr 0.4": ("a.ome.zarr", _zarr(2, 2, 2, **_multiscales("t", "c", "y", "x"))),
    "OME-Zarr 0.5": ("a.ome.zarr", _zarr(3, 2, ome=_multiscales("c", "y", "x"))),
    "model": ("a.asn2v", _model),
    "config": ("a.json", _config),
    "config, original": ("a.json", _original),
    "mask": ("mask.tif", _mask),
    "mask, PNG": ("mask.png", _mask),
    "mask, npy": ("mask.npy", _mask),
}  # fmt: skip


def make_seeds(folder: Path) -> dict[str, Files]:
    """Write every kind into the folder once, and give its files."""
    seeds = {}
    for number, (kind, (name, make)) in enumerate(_SEEDS.items()):
        home = folder / str(number)
        home.mkdir()
        make(home / name)
        files = sorted(file for file in home.rglob("*") if file.is_file())
        seeds[kind] = {file.relative_to(home).as_posix(): file.read_bytes() for file in files}
    return seeds
