"""Snapshots of napari layers at the click, so that later edits don't affect the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Layer

from napari_autostructn2v.engine.data.io.axes import check_axes, default_axes
from napari_autostructn2v.engine.data.io.metadata import Metadata
from napari_autostructn2v.engine.data.source import Source, as_source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.layers.ondemand import Window

_WORDS = {
    "S": ("s", "sample", "samples"),
    "T": ("t", "time", "times", "frame", "frames"),
    "C": ("c", "ch", "channel", "channels"),
    "Z": ("z", "depth", "slice", "slices"),
    "Y": ("y", "row", "rows", "height"),
    "X": ("x", "column", "columns", "width"),
}
_LETTER = {word: letter for letter, words in _WORDS.items() for word in words}


@dataclass(frozen=True, eq=False)
class LayerSnapshot:
    """An image layer as it was at the click.

    Attributes
    ----------
    data
        The layer's array, neither copied nor read here; level 0 of a multiscale layer.
    axes
        One letter of "STCZYX" per axis of `data`.
    placement
        The position in world coordinates, as keywords for napari layers.
    look
        The display settings, as keywords for napari image layers.
    extent
        (2, ndim) first and last pixel centre in world coordinates, in the layer's units.
    layer
        Returns the layer while it exists.
    path
        The file it was opened from, if any.
    """

    name: str
    data: Any
    axes: str
    placement: dict[str, Any]
    look: dict[str, Any]
    extent: npt.NDArray[np.float64]
    layer: Callable[[], Image | None] = lambda: None
    path: Path | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(length) for length in self.data.shape)

    @property
    def channels(self) -> int:
        return self.shape[self.axes.index("C")] if "C" in self.axes else 1

    def source(self) -> Source:
        units = [str(unit) for unit in self.placement["units"]]
        known = [i for i, unit in enumerate(units) if unit != "pixel"]
        metadata = Metadata(
            pixel_size={self.axes[i]: float(abs(self.placement["scale"][i])) for i in known},
            units={self.axes[i]: units[i] for i in known},
        )
        return as_source(self.data, self.axes, self.name, metadata)


def snapshot(layer: Layer, axes: str | None = None) -> LayerSnapshot:
    """Take a snapshot of a layer; call this on the GUI thread.

    Raises
    ------
    InputError
        If the layer is not a greyscale image with two to five axes, or if `axes` don't fit it.
    """
    if not isinstance(layer, Image):
        raise InputError(
            f"layer {layer.name!r} is a {type(layer).__name__} layer; choose an Image layer"
        )
    if layer.rgb:
        raise InputError(
            f"layer {layer.name!r} is a colour (RGB) image; split its channels "
            "(right-click the layer, Split RGB) and choose one"
        )
    data = layer.data[0] if layer.multiscale else layer.data
    return LayerSnapshot(
        name=layer.name,
        data=data,
        axes=check_axes(axes, data.shape) if axes else axes_of(layer.axis_labels, data.shape),
        placement={
            "scale": np.array(layer.scale),
            "translate": np.array(layer.translate),
            "rotate": np.array(layer.rotate),
            "shear": np.array(layer.shear),
            "affine": np.array(layer.affine.affine_matrix),
            "units": tuple(layer.units),
            "axis_labels": tuple(layer.axis_labels),
        },
        look={
            "colormap": layer.colormap,
            "contrast_limits": tuple(layer.contrast_limits),
            "gamma": layer.gamma,
            "interpolation2d": str(layer.interpolation2d),
        },
        extent=np.array(layer.extent.world),
        layer=ref(layer),
        path=None if layer.source.path is None else Path(layer.source.path),
    )


def is_same(one: LayerSnapshot, other: LayerSnapshot) -> bool:
    """Return whether two snapshots have the same pixels of one layer, and the same axes."""
    alike = one.layer() is other.layer() and one.axes == other.axes
    return alike and _pixels(one.data) == _pixels(other.data)


def _pixels(data: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return a key for an array and the part of it, valid while the array exists."""
    if isinstance(data, Window):
        return id(data.array), data.first, data.shape
    return id(data), (0,) * len(data.shape), tuple(data.shape)


def describe(image: LayerSnapshot) -> str:
    """Return axes, shape and type in one line: "T Y X   256 x 1024 x 1024   uint16"."""
    shape = " x ".join(map(str, image.shape))
    return f"{' '.join(image.axes)}   {shape}   {np.dtype(image.data.dtype).name}"


def axes_of(labels: Sequence[str], shape: Sequence[int]) -> str:
    """Return the axes according to the layer's labels, with defaults for unnamed axes.

    napari numbers unnamed axes "-3", "-2", "-1". Labels that are unknown or repeated count as
    unnamed.

    Raises
    ------
    InputError
        If there are not two to five axes, or if Y and X can't be identified.
    """
    named = [_LETTER.get(str(label).strip().lower()) for label in labels]
    axes = [letter if named.count(letter) == 1 else None for letter in named]
    default = default_axes(shape) if None in axes else ""
    for i, letter in enumerate(default):
        if axes[i] is None and letter not in axes:
            axes[i] = letter
    spare = iter([letter for letter in "YXTZCS" if letter not in axes])
    result = "".join(letter or next(spare) for letter in axes)
    if not {"Y", "X"} <= set(result):
        raise InputError(
            f"the layer's axes are named {', '.join(map(str, labels))}; "
            "set the axes, including y and x, below: Advanced, General, axes"
        )
    return result
