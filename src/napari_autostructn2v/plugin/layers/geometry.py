"""Positions of the view, shapes and parts of an image, in pixels and in world coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.utils.transforms import CompositeAffine

from napari_autostructn2v.engine.errors import InputError

if TYPE_CHECKING:
    from napari_autostructn2v.plugin.layers.reading import LayerSnapshot

Floats = npt.NDArray[np.float64]


def view_box(viewer: Any, image: LayerSnapshot) -> Floats:
    """Return the ends (2, 2) of the view along Y and X, in pixels; infinite if not shown.

    Raises
    ------
    InputError
        If the view is in 3-D.
    """
    if viewer.dims.ndisplay != 2:
        raise InputError(
            "the current view can be used as a region only in 2-D; switch to 2-D or use a shape"
        )
    # `viewer.camera` and `viewer._canvas_size` before napari 0.9
    camera = getattr(viewer, "scene", viewer).camera
    canvas = viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size
    half = np.divide(canvas, 2 * camera.zoom)
    corners = np.tile(np.array(viewer.dims.point, float), (4, 1))
    corners[:, list(viewer.dims.displayed)] = camera.center[-2:] + half * [
        (-1, -1), (-1, 1), (1, -1), (1, 1)
    ]  # fmt: skip
    box = _box(to_pixels(viewer, image, corners), image.axes)
    lacking = viewer.dims.ndim - len(image.shape)
    for row, axis in enumerate("YX"):
        if image.axes.index(axis) + lacking not in viewer.dims.displayed:
            box[row] = -math.inf, math.inf
    return box


def shape_boxes(viewer: Any, shapes: Any, image: LayerSnapshot) -> list[Floats]:
    """Return the ends of each selected shape, or else of all, along Y and X, in pixels.

    Raises
    ------
    InputError
        If there is no shape.
    """
    chosen = sorted(shapes.selected_data) or range(len(shapes.data))
    scale = world_scale(viewer, shapes.units)
    boxes = []
    for number in chosen:
        corners = [shapes.data_to_world(corner) for corner in shapes.data[number]]
        points = np.tile(np.array(viewer.dims.point, float), (len(corners), 1))
        points[:, -shapes.ndim :] = corners * scale
        boxes.append(_box(to_pixels(viewer, image, points), image.axes))
    if not boxes:
        raise InputError(f"{shapes.name!r} has no shapes; draw a rectangle around the region")
    return boxes


def _box(points: Floats, axes: str) -> Floats:
    plane = points[:, [axes.index("Y"), axes.index("X")]]
    return np.stack([plane.min(0), plane.max(0)], axis=1)


def to_pixels(viewer: Any, image: LayerSnapshot, points: Floats) -> Floats:
    """Convert points (n, viewer's ndim) from the viewer's coordinates to pixels of an image."""
    own = points[:, -len(image.shape) :] / world_scale(viewer, image.placement["units"])
    return world_to_data(image.placement, own)


def world_scale(viewer: Any, units: Sequence[Any]) -> Floats:
    """Return a layer's units in units of the viewer, along each axis of the layer.

    napari's view, cursor and sliders use the smallest unit of all layers: nm if one layer is in nm
    and another in um. The transforms of a layer ignore that. If units are incompatible, and before
    napari 0.7, each layer is drawn in its own unit.
    """
    world = getattr(viewer.layers.extent, "units", None) or units
    pairs = zip(reversed(units), reversed(world), strict=False)
    scale = [
        (1.0 * own).to(drawn).m if own.is_compatible_with(drawn) else 1 for own, drawn in pairs
    ]
    return np.array([1.0] * (len(units) - len(scale)) + scale[::-1])


def _within(placement: dict[str, Any]) -> Any:
    """Return the first of an image's two transforms: scale, rotation, shear and translation."""
    keys = ("scale", "translate", "rotate", "shear")
    return CompositeAffine(**{key: placement[key] for key in keys})


def world_to_data(placement: dict[str, Any], points: Floats) -> Floats:
    """Convert points (n, ndim) from world coordinates to pixels of an image with this placement."""
    return _transformed(points, np.linalg.inv(_matrix(placement)))


def data_to_world(placement: dict[str, Any], points: Floats) -> Floats:
    """Convert pixels (n, ndim) of an image with this placement to world coordinates."""
    return _transformed(points, _matrix(placement))


def _matrix(placement: dict[str, Any]) -> Floats:
    return np.asarray(placement["affine"] @ _within(placement).affine_matrix)


def _transformed(points: Floats, matrix: npt.NDArray[Any]) -> Floats:
    whole = np.column_stack([points, np.ones(len(points))])
    return np.asarray((whole @ matrix.T)[:, :-1])


def moved(placement: dict[str, Any], first: npt.ArrayLike) -> dict[str, Any]:
    """Return the placement of a part of an image whose pixel 0 is the image's pixel `first`."""
    step = _within(placement).linear_matrix @ np.asarray(first, float)
    return placement | {"translate": np.asarray(placement["translate"]) + step}


def cut(ends: npt.ArrayLike, length: int, most: int | None = None) -> tuple[int, int]:
    """Return the pixels [start, stop) between two ends, clipped to the image and to `most` pixels.

    Pixel i reaches from i - 0.5 to i + 0.5.

    >>> cut((-3.2, 4.4), 100)
    (0, 5)
    >>> cut((10, 50), 100, most=8)
    (26, 34)
    """
    low, high = np.clip(np.asarray(ends, float) + 0.5, 0, length)
    start, stop = math.floor(low), math.ceil(high)
    if most is not None and stop - start > most:
        start = (start + stop - most) // 2
        stop = start + most
    return start, max(start, stop)
