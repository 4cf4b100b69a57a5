"""Reads Zarr lazily: every image of OME-Zarr 0.4 and 0.5, and plain arrays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.io.axes import (
    LETTERS,
    check_axes,
    default_axes,
    name_unknown,
)
from napari_autostructn2v.engine.data.io.metadata import Collected, Metadata
from napari_autostructn2v.engine.data.io.storage import Stored, check_block
from napari_autostructn2v.engine.errors import InputError


def open_zarr(path: Path, axes: str | None) -> list[Stored]:
    import zarr

    from napari_autostructn2v.engine.data.io.zarr_store import CheckedStore

    _refuse_code(path)
    # `_refuse_code` checks the arrays' own metadata, so a consolidated copy is not trusted.
    node = zarr.open(CheckedStore(path), mode="r", use_consolidated=False)
    if hasattr(node, "shape"):
        names = getattr(node.metadata, "dimension_names", None) or ()
        check_block(path, node.chunks, node.dtype)
        return [Stored(node, axes or _zarr_axes(names, node.shape), Metadata())]
    attributes = _ome_attributes(node)
    _refuse_plate(path, attributes)
    if "bioformats2raw.layout" in attributes:
        groups = sorted((key for key in node.group_keys() if key.isdecimal()), key=int)
        if not groups:
            raise InputError(f"{path} holds no image; the groups 0, 1, ... are missing")
        scenes = [
            (key, image, path / key, node[key])
            for key in groups
            for image in _images(path / key, _ome_attributes(node[key]))
        ]
    else:
        scenes = [
            (str(number), image, path, node)
            for number, image in enumerate(_images(path, attributes))
        ]
    single = len(scenes) == 1
    return [
        _open_image(folder, group, image, axes, "" if single else key)
        for key, image, folder, group in scenes
    ]


def _refuse_plate(path: Path, attributes: Mapping[str, Any]) -> None:
    if "plate" in attributes:
        wells = attributes["plate"].get("wells")
        field = path / (wells[0]["path"] if wells else "A/1") / "0"
        kind, every = "plate", path / "*/*/*"
    elif "well" in attributes:
        kind, field, every = "well", path / "0", path / "*"
    else:
        return
    raise InputError(
        f"{path} is a {kind} of many images; name one, for example {field}, or all as '{every}'"
    )


def _images(path: Path, attributes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    scales = attributes.get("multiscales")
    if not isinstance(scales, list) or not scales:
        raise InputError(f"{path} is a Zarr group without an OME-Zarr image; name the array in it")
    return scales


def _open_image(
    path: Path, group: Any, image: Mapping[str, Any], axes: str | None, scene: str
) -> Stored:
    levels = image.get("datasets") or ()
    if not levels:
        raise InputError(f"{path} is an OME-Zarr image without levels; name the array in it")
    level = levels[0]
    name = str(level.get("path"))
    _refuse_code(path / name)  # before zarr opens it
    if name not in group:
        raise InputError(
            f"{path} lacks its level {name}, the image in full size; it is damaged or was not "
            "copied completely"
        )
    data = group[name]
    check_block(path, data.chunks, data.dtype)
    described = [
        axis if isinstance(axis, Mapping) else {"name": axis} for axis in image.get("axes", ())
    ]
    letters = [_axis_letter(axis) for axis in described]
    own = axes or _zarr_axes(letters, data.shape)
    found = Collected()
    if len(described) == len(own):
        outer, inner = _transform(image, "scale", len(own)), _transform(level, "scale", len(own))
        shift = outer * _transform(level, "translation", len(own))
        shift += _transform(image, "translation", len(own))
        for letter, size, start, axis in zip(own, outer * inner, shift, described, strict=True):
            if axes and letter != _axis_letter(axis):
                continue  # the size belongs to another axis than the one named by the user
            if size != 1 or axis.get("unit"):  # 1 without a unit means unknown
                found.put(letter, size, axis.get("unit"))
            found.place(letter, start, axis.get("unit"))
    channels = _ome_attributes(group).get("omero", {}).get("channels", ())
    labels = tuple(str(channel.get("label", "")) for channel in channels)
    colors = tuple(_color(channel.get("color")) for channel in channels)
    metadata = found.metadata(labels if any(labels) else (), colors if all(colors) else ())
    return Stored(data, own, metadata, scene)


def _color(text: object) -> str:
    return str(text).upper() if re.fullmatch("[0-9A-Fa-f]{6}", str(text)) else ""


def _refuse_code(folder: Path) -> None:
    """Refuse an array whose codec could run code from the file.

    Raises
    ------
    InputError
        If a filter, compressor or other codec is the pickle codec, or the values are objects.
    """
    for mark in (".zarray", "zarr.json"):
        file = folder / mark
        if not file.is_file():
            continue
        about = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(about, Mapping):
            continue
        chain = [about.get(key) for key in ("filters", "compressor", "codecs")]
        if "pickle" in _codecs(chain) or about.get("dtype") == "|O":
            raise InputError(
                f"{folder} is stored with the pickle codec, which can run code, and is not opened; "
                "ask for it with another codec"
            )


def _codecs(chain: Any) -> Iterator[str]:
    """Yield the names of all codecs, including nested ones."""
    if isinstance(chain, list):
        for item in chain:
            yield from _codecs(item)
    elif isinstance(chain, Mapping):
        yield str(chain.get("id") or chain.get("name")).lower().removeprefix("numcodecs.")
        for item in chain.values():
            yield from _codecs(item)


def _ome_attributes(node: Any) -> Mapping[str, Any]:
    attributes = node.attrs.asdict()
    inner = attributes.get("ome", attributes)  # 0.5 nests them one level deeper than 0.4
    return inner if isinstance(inner, Mapping) else {}


def _axis_letter(axis: Mapping[str, Any]) -> str:
    name = str(axis.get("name") or "").upper()
    if name in LETTERS and len(name) == 1:
        return name
    return {"time": "T", "channel": "C"}.get(str(axis.get("type")), "?")


def _zarr_axes(names: Any, shape: tuple[int, ...]) -> str:
    letters = [str(name or "?").upper() for name in names]
    if all(len(letter) == 1 for letter in letters) and len(letters) == len(shape):
        try:
            return check_axes(name_unknown("".join(letters)), shape)
        except InputError:
            pass  # the names don't fit an image: fall back to the usual order
    return default_axes(shape)


def _transform(holder: Mapping[str, Any], kind: str, length: int) -> npt.NDArray[np.float64]:
    """Return the scale or translation per axis; 1 or 0 if there is no valid one."""
    for transform in holder.get("coordinateTransformations") or ():
        if transform.get("type") == kind and len(transform.get(kind, ())) == length:
            return np.asarray(transform[kind], dtype=np.float64)
    return np.full(length, 1.0 if kind == "scale" else 0.0)
