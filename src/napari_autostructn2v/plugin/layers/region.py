"""The region of an image to train on or preview: the current view, or drawn shapes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.layers.geometry import (
    cut,
    data_to_world,
    moved,
    shape_boxes,
    to_pixels,
    view_box,
)
from napari_autostructn2v.plugin.layers.ondemand import Window
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot

Region: TypeAlias = Any
"""The "whole" layer, the current "view", or a Shapes layer."""


def parts(
    viewer: Any,
    images: Sequence[LayerSnapshot],
    region: Region,
    *,
    plane_only: bool = False,
    least: int = 1,
) -> list[LayerSnapshot]:
    """Crop images to a region: one part per image for the view, one per shape.

    Images outside the region are skipped. Nothing is read or copied. If `plane_only`, only the
    current plane is used.

    Raises
    ------
    InputError
        If nothing is left, if a part is smaller than both `least` pixels and the image along an
        axis, if the view is in 3-D, or if there are no shapes.
    """
    found = []
    for image in images:
        spans = _plane(viewer, image) if plane_only else {}
        if region == "whole":
            found.append(crop(image, spans))
            continue
        view = region == "view"
        boxes = [view_box(viewer, image)] if view else shape_boxes(viewer, region, image)
        lengths = {axis: image.shape[image.axes.index(axis)] for axis in "YX"}
        for box in boxes:
            ends = {axis: cut(along, lengths[axis]) for axis, along in zip("YX", box, strict=True)}
            sides = {axis: stop - start for axis, (start, stop) in ends.items()}
            if not all(sides.values()):
                continue
            if any(side < min(least, lengths[axis]) for axis, side in sides.items()):
                raise InputError(
                    f"{'the view' if view else f'a shape of {region.name!r}'} covers only "
                    f"{sides['Y']} x {sides['X']} pixels of {image.name!r}, and {least} x {least} "
                    f"are needed; {'zoom out' if view else 'draw it larger'} or use the whole layer"
                )
            found.append(crop(image, spans | ends))
    if not found:
        names = ", ".join(repr(image.name) for image in images)
        where = "the view shows" if region == "view" else "the shapes cover"
        raise InputError(f"{where} nothing of {names}; move onto the image, or use the whole layer")
    return found


def crop(image: LayerSnapshot, spans: Mapping[str, tuple[int, int]]) -> LayerSnapshot:
    """Return the part of an image between `spans` [start, stop) along its axes, as placed there."""
    whole = [(0, length) for length in image.shape]
    wanted = [spans.get(axis, ends) for axis, ends in zip(image.axes, whole, strict=True)]
    if wanted == whole:
        return image
    placement = moved(image.placement, [start for start, _ in wanted])
    corners = np.array(list(itertools.product(*((0, b - a - 1) for a, b in wanted))), float)
    world = data_to_world(placement, corners)
    return replace(
        image,
        name=f"{image.name} region",
        data=Window(image.data, dict(enumerate(wanted))),
        placement=placement,
        extent=np.stack([world.min(0), world.max(0)]),
    )


def _plane(viewer: Any, image: LayerSnapshot) -> dict[str, tuple[int, int]]:
    """Return the span of the current plane along axes other than Y and X; all channels are kept."""
    here = to_pixels(viewer, image, np.array([viewer.dims.point], float))[0]
    spans = {}
    for axis, length, at in zip(image.axes, image.shape, here, strict=True):
        if axis not in "YXC":
            place = int(np.clip(round(at), 0, length - 1))
            spans[axis] = (place, place + 1)
    return spans
