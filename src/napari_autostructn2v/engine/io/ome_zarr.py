"""Zarr: OME-Zarr 0.4 and 0.5 and bare arrays are read; OME-Zarr 0.5 is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.io.axes import (
    LETTERS,
    check_axes,
    default_axes,
    name_unknown,
    without_samples,
)
from napari_autostructn2v.engine.io.metadata import Collected, Metadata
from napari_autostructn2v.engine.io.storage import Stored


def open_zarr(path: Path, axes: str | None) -> Stored:
    import zarr

    node = zarr.open(path, mode="r")
    attributes = _ome_attributes(node)
    if "bioformats2raw.layout" in attributes and "0" in node:
        node = node["0"]
        attributes = _ome_attributes(node)
    if hasattr(node, "shape"):
        names = getattr(node.metadata, "dimension_names", None) or ()
        return Stored(node, axes or _zarr_axes(names, node.shape), Metadata())
    scales = attributes.get("multiscales")
    if not isinstance(scales, list) or not scales:
        raise InputError(f"{path} is a Zarr group without an OME-Zarr image; name the array in it")
    image = scales[0]
    level = image["datasets"][0]
    data = node[level["path"]]
    described = [
        axis if isinstance(axis, Mapping) else {"name": axis} for axis in image.get("axes", ())
    ]
    own = _zarr_axes([_axis_letter(axis) for axis in described], data.shape)
    found = Collected()
    if len(described) == len(own):
        scale = _scale(image, len(own)) * _scale(level, len(own))
        for letter, size, axis in zip(own, scale, described, strict=True):
            if size != 1 or axis.get("unit"):  # without a unit, 1 only says that there is none
                found.put(letter, size, axis.get("unit"))
    channels = attributes.get("omero", {}).get("channels", ())
    labels = tuple(str(channel.get("label", "")) for channel in channels)
    return Stored(data, axes or own, found.metadata(labels if any(labels) else ()))


def _ome_attributes(node: Any) -> Mapping[str, Any]:
    attributes = node.attrs.asdict()
    inner = attributes.get("ome", attributes)  # 0.5 keeps them one level deeper than 0.4
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
            pass  # metadata that names no image: better the usual order than nothing
    return default_axes(shape)


def _scale(holder: Mapping[str, Any], length: int) -> npt.NDArray[np.float64]:
    for transform in holder.get("coordinateTransformations") or ():
        if transform.get("type") == "scale" and len(transform.get("scale", ())) == length:
            return np.asarray(transform["scale"], dtype=np.float64)
    return np.ones(length)


AXES = "TCZYX"  # the order OME-NGFF demands
_KINDS = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
CHUNK = 512


class ZarrStorage:
    """An OME-Zarr 0.5 image (Zarr 3) being filled; one resolution level, no pyramid.

    Its `array` has the axes in the order TCZYX; S becomes the first of T, C, Z that is free.
    """

    def __init__(
        self, path: Path, axes: str, shape: tuple[int, ...], dtype: np.dtype[Any],
        metadata: Metadata, name: str,
    ) -> None:  # fmt: skip
        import zarr

        known = without_samples(axes, AXES)
        self.order = tuple(sorted(range(len(known)), key=lambda k: AXES.index(known[k])))
        stored = [known[k] for k in self.order]
        lengths = tuple(shape[k] for k in self.order)
        channels = lengths[stored.index("C")] if "C" in stored else 1
        self._names = metadata.limited_to(known, channels).channel_names
        self._group = zarr.create_group(path, attributes={"ome": _ome(stored, metadata, name)})
        self.array: Any = self._group.create_array(
            "0",
            shape=lengths,
            dtype=dtype,
            chunks=tuple(
                min(CHUNK, length) if axis in "YX" else 1
                for axis, length in zip(stored, lengths, strict=True)
            ),
            dimension_names=[axis.lower() for axis in stored],
        )

    def write(self, index: tuple[int | slice, ...], values: npt.NDArray[Any]) -> None:
        self.array[index] = values

    def finish(self, low: float, high: float) -> None:
        if self._names:
            window = {"min": low, "max": high, "start": low, "end": high}
            ome = dict(self._group.attrs["ome"])
            ome["omero"] = {
                "channels": [
                    {"label": name, "color": "FFFFFF", "window": window} for name in self._names
                ]
            }
            self._group.attrs["ome"] = ome
        self.array = None

    def reopen(self, path: Path) -> None:
        import zarr

        self.array = zarr.open_array(path / "0", mode="r")


def _ome(stored: list[str], metadata: Metadata, name: str) -> dict[str, Any]:
    from ome_zarr_models.v05.axes import Axis
    from ome_zarr_models.v05.image import ImageAttrs
    from ome_zarr_models.v05.multiscales import Dataset, Multiscale

    axes = [
        Axis(name=axis.lower(), type=_KINDS[axis], unit=metadata.units.get(axis)) for axis in stored
    ]
    scale = [metadata.pixel_size.get(axis, 1.0) for axis in stored]
    image = Multiscale(
        name=name, axes=axes, datasets=(Dataset.build(path="0", scale=scale, translation=None),)
    )
    described: dict[str, Any] = ImageAttrs(multiscales=[image], version="0.5").model_dump(
        mode="json", exclude_none=True
    )
    return described
