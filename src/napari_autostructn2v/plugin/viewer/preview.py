"""The preview layer: a region denoised by the network in training, above the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image
from qtpy.QtCore import QObject

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Place, Preview
from napari_autostructn2v.plugin.layers.geometry import (
    Floats,
    cut,
    moved,
    shape_boxes,
    to_pixels,
    view_box,
)
from napari_autostructn2v.plugin.layers.writing import KIND
from napari_autostructn2v.plugin.viewer.compare import frame
from napari_autostructn2v.plugin.widgets.debounced import Debounced

if TYPE_CHECKING:
    from napari_autostructn2v.plugin.layers.reading import LayerSnapshot

MOST = 512  # pixels a side: what a network denoises every couple of seconds


class LivePreview(QObject):
    """The layer "<image> preview". For the GUI thread.

    With `split`, the region is noisy above its diagonal and denoised below it; the noisy half is
    read in a thread. If the user deletes the layer, it returns only with another region.
    """

    def __init__(self, viewer: Any, image: LayerSnapshot, split: bool = False) -> None:
        super().__init__()
        self._viewer = viewer
        self._image = image
        self._source = image.source()
        self._split = split
        self._place: Place | None = None
        self._denoised: npt.NDArray[Any] | None = None
        self._noisy: tuple[Place, npt.NDArray[Any]] | None = None
        self._layer: Any = None
        self._reading = Debounced(self._read, self)
        self._reading.done.connect(self._on_read)

    @property
    def split(self) -> bool:
        return self._split

    @split.setter
    def split(self, split: bool) -> None:
        self._split = split
        self._ask()
        self._draw()

    def show_event(self, event: Preview) -> None:
        """Show a new preview; its region may have changed."""
        if event.place != self._place:
            self._place = event.place
            self._drop()
            self._ask()
        self._denoised = event.image
        self._draw()

    def close(self) -> None:
        """End the preview and remove the layer."""
        self._reading.cancel()
        self._drop()
        self._layer = self._place = self._denoised = self._noisy = None

    def _drop(self) -> None:
        if self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = None

    def _ask(self) -> None:
        """Read the noisy half in a thread, unless it is known or not needed."""
        if self._split and self._place and (self._noisy is None or self._noisy[0] != self._place):
            self._reading.request(self._place)

    def _read(self, place: Place) -> tuple[Place, npt.NDArray[Any]]:
        (top, bottom), (left, right) = place.region
        return place, self._source.read(place.plane, slice(top, bottom), slice(left, right))

    def _on_read(self, noisy: tuple[Place, npt.NDArray[Any]]) -> None:
        self._noisy = noisy
        self._draw()

    def _draw(self) -> None:
        if self._place is None or self._denoised is None:
            return
        shown = self._denoised
        if self._split and self._noisy is not None and self._noisy[0] == self._place:
            shown = halves(self._noisy[1], shown)
        shown = spread(shown, self._image.axes)
        if self._layer is None:
            self._layer = self._add(shown, self._place)
        elif self._layer in self._viewer.layers:
            self._layer.data[...] = shown
            self._layer.refresh(extent=False, thumbnail=False)

    def _add(self, shown: npt.NDArray[Any], place: Place) -> Image:
        layer = Image(
            np.array(shown),
            name=f"{self._image.name} preview",
            rgb=False,
            multiscale=False,
            metadata={KIND: "preview"},
            **moved(self._image.placement, first_pixel(place, self._image.axes, self._image.shape)),
            **self._image.look,
        )
        frame(layer)
        selected = set(self._viewer.layers.selection)
        self._viewer.add_layer(layer)
        self._viewer.layers.selection = selected  # the user may be at work on another layer
        return layer


def preview_place(
    viewer: Any, image: LayerSnapshot, shapes: Any | None = None, number: int = 0
) -> Place:
    """Return a region of the current plane: the current view, or the bounding box of shapes.

    Of a Shapes layer, the selected shapes are used, or else all of them. The region is clipped to
    the image, and to the central `MOST` pixels per side. `number` is the image's index in the run.

    Raises
    ------
    InputError
        If the region would be empty.
    """
    here = to_pixels(viewer, image, np.array([viewer.dims.point], float))[0]
    if shapes is None:
        box = view_box(viewer, image)
        outside = f"the view shows nothing of {image.name!r}; move it onto the image"
    else:
        boxes = np.stack(shape_boxes(viewer, shapes, image))
        box = np.stack([boxes[..., 0].min(0), boxes[..., 1].max(0)], axis=1)
        outside = f"the shapes of {shapes.name!r} are outside {image.name!r}; draw them on it"
    height, width = (image.shape[image.axes.index(axis)] for axis in "YX")
    region = (cut(box[0], height, MOST), cut(box[1], width, MOST))
    if any(start == stop for start, stop in region):
        raise InputError(outside)
    return Place(number, plane_at(here, image.axes, image.shape), region)


def plane_at(point: Floats, axes: str, shape: tuple[int, ...]) -> int:
    """Return the number, as in the engine's `Source`, of the plane nearest to a point in pixels."""
    outer = [i for i, axis in enumerate(axes) if axis not in "YX"]
    lengths = [shape[i] for i in outer]
    near = [int(np.clip(round(point[i]), 0, shape[i] - 1)) for i in outer]
    return int(np.ravel_multi_index(near, lengths)) if outer else 0


def first_pixel(place: Place, axes: str, shape: tuple[int, ...]) -> list[int]:
    """Return the start of a place along each axis of the image."""
    outer = [i for i, axis in enumerate(axes) if axis not in "YX"]
    first = [0] * len(axes)
    for i, index in zip(
        outer,
        np.unravel_index(place.plane, [shape[i] for i in outer]) if outer else (),
        strict=True,
    ):
        first[i] = int(index)
    first[axes.index("Y")], first[axes.index("X")] = place.region[0][0], place.region[1][0]
    return first


def spread(block: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
    """Reshape a (Y, X) block to the axes of its image, with length 1 along the others."""
    block = block if axes.index("Y") < axes.index("X") else block.T
    return np.expand_dims(block, [i for i, axis in enumerate(axes) if axis not in "YX"])


def halves(noisy: npt.NDArray[Any], denoised: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Combine the upper left half of one image with the lower right half of another."""
    height, width = noisy.shape
    rows, columns = np.ogrid[:height, :width]
    upper = (rows + 0.5) / height + (columns + 0.5) / width < 1
    return np.where(upper, noisy, denoised)
