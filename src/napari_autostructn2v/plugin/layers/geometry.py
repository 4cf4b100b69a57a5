"""Where the view, shapes and parts of an image lie, in its pixels and in the world."""

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
    """Find the ends (2, 2) of the view along Y and X, in pixels; infinite if not shown.

    Raises
    ------
    InputError
        If the view is in 3-D.
    """
    if viewer.dims.ndisplay != 2:
        raise InputError("the current view is a region in 2-D only; switch to 2-D or use a shape")
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
    """Find the ends of each shape along Y and X, in pixels: of those selected, or else of all.

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
        raise InputError(f"{shapes.name!r} is empty; draw a rectangle where to look")
    return boxes


def _box(points: Floats, axes: str) -> Floats:
    plane = points[:, [axes.index("Y"), axes.index("X")]]
    return np.stack([plane.min(0), plane.max(0)], axis=1)


def to_pixels(viewer: Any, image: LayerSnapshot, points: Floats) -> Floats:
    """Bring points (n, viewer's ndim) where the viewer has them to the pixels of an image."""
    own = points[:, -len(image.shape) :] / world_scale(viewer, image.placement["units"])
    return world_to_data(image.placement, own)


def world_scale(viewer: Any, units: Sequence[Any]) -> Floats:
    """Find how many of the viewer's units one of a layer's is, along each axis of the layer.

    napari has view, cursor and the position of the sliders in the smallest of all layers' units:
    in nm if one layer is in nm and another in um. A layer's own transforms know nothing of it.
    Where units don't go together, and before napari 0.7, each layer is drawn in its own.
    """
    world = getattr(viewer.layers.extent, "units", None) or units
    pairs = zip(reversed(units), reversed(world), strict=False)
    scale = [
        (1.0 * own).to(drawn).m if own.is_compatible_with(drawn) else 1 for own, drawn in pairs
    ]
    return np.array([1.0] * (len(units) - len(scale)) + scale[::-1])


def _within(placement: dict[str, Any]) -> Any:
    """Give the first of an image's two transforms: scale, rotation, shear and translation."""
    keys = ("scale", "translate", "rotate", "shear")
    return CompositeAffine(**{key: placement[key] for key in keys})


def world_to_data(placement: dict[str, Any], points: Floats) -> Floats:
    """Bring points (n, ndim) from the world to the pixels of an image placed like this."""
    return _transformed(points, np.linalg.inv(_matrix(placement)))


def data_to_world(placement: dict[str, Any], points: Floats) -> Floats:
    """Bring pixels (n, ndim) of an image placed like this to the world."""
    return _transformed(points, _matrix(placement))


def _matrix(placement: dict[str, Any]) -> Floats:
    return np.asarray(placement["affine"] @ _within(placement).affine_matrix)


def _transformed(points: Floats, matrix: npt.NDArray[Any]) -> Floats:
    whole = np.column_stack([points, np.ones(len(points))])
    return np.asarray((whole @ matrix.T)[:, :-1])


def moved(placement: dict[str, Any], first: npt.ArrayLike) -> dict[str, Any]:
    """Place what was cut from an image, its pixel 0 being the image's pixel `first`."""
    step = _within(placement).linear_matrix @ np.asarray(first, float)
    return placement | {"translate": np.asarray(placement["translate"]) + step}


def cut(ends: npt.ArrayLike, length: int, most: int | None = None) -> tuple[int, int]:
    """Find the pixels [start, stop) between two ends, cut to the image and to `most` of them.

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
