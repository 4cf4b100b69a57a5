"""The curtain: a line that can be dragged, with the noisy image left of it and the result right.

It uses a layer, since napari's clipping planes have no effect on images in 2-D.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from napari.experimental import link_layers, unlink_layers
from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.layers.geometry import world_scale
from napari_autostructn2v.plugin.layers.ondemand import Part
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot
from napari_autostructn2v.plugin.layers.writing import KIND
from napari_autostructn2v.plugin.viewer.compare import Revealed, frame

_GRIP = 8  # screen pixels to either side of the line
_LOOK = ("contrast_limits", "colormap", "gamma", "interpolation2d")


class Curtain(QObject):
    """The noisy image left of a line, the result right of it; the line can be dragged.

    The part left of the line is a separate layer, cropped from the noisy image without copying;
    its frame is the line. Left and right are along the horizontal axis of the image, even if the
    layer is rotated. If the result was hidden or covered, it is shown during the comparison. The
    curtain ends by itself if a layer is removed, or if the view becomes 3-D or a grid.

    Parameters
    ----------
    region
        The part of the noisy image that was denoised, with its position; default: all of it.

    Raises
    ------
    InputError
        If the current view can't show a curtain for these layers.
    """

    closed = Signal()

    def __init__(
        self,
        viewer: Any,
        source: Image,
        result: Image,
        position: float = 0.5,
        region: LayerSnapshot | None = None,
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._source = source
        self._result = result
        self._region = region
        self._check()
        self._open = True
        self._near = False
        self._position = position
        self._axis = _across(viewer, source)
        self._layer = self._make_layer()
        self._revealed = Revealed(viewer, result)
        selected = set(viewer.layers.selection)
        viewer.layers.insert(viewer.layers.index(result) + 1, self._layer)
        viewer.layers.selection = selected  # the user may be at work on another layer
        link_layers([source, self._layer], _LOOK)
        for callbacks, callback in self._mouse():
            callbacks.append(callback)
        for emitter, callback in self._events():
            emitter.connect(callback)

    @property
    def position(self) -> float:
        """The position of the line: 0 at the left edge of the image, 1 at the right edge."""
        return self._position

    @position.setter
    def position(self, position: float) -> None:
        before, self._position = self._columns(), min(max(position, 0.0), 1.0)
        if self._open and self._columns() != before:
            self._layer.data = self._cut()

    def close(self) -> None:
        """Remove layer and callbacks, and restore changed properties."""
        if not self._open:
            return
        self._open = False
        for callbacks, callback in self._mouse():
            callbacks.remove(callback)
        for emitter, callback in self._events():
            emitter.disconnect(callback)
        unlink_layers([self._source, self._layer], _LOOK)
        self._point(False)
        _remove(self._viewer, self._layer)
        self._revealed.restore()
        self.closed.emit()

    def _mouse(self) -> list[tuple[list[Any], Any]]:
        viewer = self._viewer
        return [
            (viewer.mouse_drag_callbacks, self._drag),
            (viewer.mouse_move_callbacks, self._hover),
        ]

    def _check(self) -> None:
        viewer, source, result = self._viewer, self._source, self._result
        if viewer.dims.ndisplay != 2:
            raise InputError(
                "the curtain works only in 2-D; switch to the 2-D view below the layer list"
            )
        if _grid(viewer).enabled:
            raise InputError(
                "the curtain doesn't work in the grid view; switch it off below the layer list"
            )
        shapes = [
            tuple(map(int, shape)) for shape in (self._levels()[0].shape, result.level_shapes[0])
        ]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{source.name!r} is {_size(shapes[0])} and {result.name!r} is {_size(shapes[1])}; "
                "choose a result of the same size in the layer list"
            )
        if _across(viewer, source) < 0:
            raise InputError(
                f"{source.name!r} has no horizontal axis in this view; "
                "change the order of the axes below the layer list"
            )

    def _events(self) -> list[tuple[Any, Any]]:
        viewer = self._viewer
        return [
            (viewer.layers.events.removed, self._on_removed),
            (viewer.dims.events.ndisplay, self.close),
            (viewer.dims.events.order, self._turn),
            (_grid(viewer).events.enabled, self._turn),
            (self._source.events.data, self._turn),
        ]

    def _make_layer(self) -> Image:
        _, look, _ = self._source.as_layer_data_tuple()
        changes = {
            "name": f"{self._source.name} curtain",
            "metadata": {KIND: "curtain"},
            "multiscale": self._has_levels,
            "visible": True,
            "opacity": 1.0,
            "blending": "translucent_no_depth",
        }
        place = {} if self._region is None else self._region.placement
        layer = Image(self._cut(), **(look | place | changes))
        frame(layer, thickness=2)
        return layer

    def _cut(self) -> Part | list[Part]:
        levels = self._levels()
        parts = [Part(level, self._axis, self._share(level.shape[self._axis])) for level in levels]
        return parts if self._has_levels else parts[0]

    @property
    def _has_levels(self) -> bool:
        return self._region is None and bool(self._source.multiscale)

    def _levels(self) -> list[Any]:
        if self._region is not None:
            return [self._region.data]
        return list(self._source.data) if self._has_levels else [self._source.data]

    def _columns(self) -> int:
        return self._share(self._length)

    @property
    def _length(self) -> int:
        return int(self._result.level_shapes[0][self._axis])

    def _share(self, length: int) -> int:
        return max(1, round(self._position * length))

    def _turn(self) -> None:
        """Crop the image again after its data or the order of axes have changed."""
        try:
            self._check()
        except InputError:
            self.close()
        else:
            self._axis = _across(self._viewer, self._source)
            self._layer.data = self._cut()

    def _on_removed(self, event: Any) -> None:
        if event.value in (self._source, self._result, self._layer):
            # The layer list must not be changed while it emits an event.
            QTimer.singleShot(0, self.close)

    def _drag(self, viewer: Any, event: Any) -> Generator[None]:
        if event.button != 1 or event.modifiers or not self._grips(event.position):
            return
        event.handled = True  # else the view would be moved
        yield
        while event.type == "mouse_move" and self._open:
            event.handled = True
            self.position = self._column(event.position) / self._length
            yield

    def _hover(self, viewer: Any, event: Any) -> None:
        self._point(self._grips(event.position))

    def _point(self, near: bool) -> None:
        if near != self._near:
            self._near = near
            active = self._viewer.layers.selection.active
            usual = "standard" if active is None else active.cursor
            self._viewer.cursor.style = "pointing" if near else usual

    def _grips(self, position: Any) -> bool:
        """Return whether a point is close to the line, unless the user is painting."""
        active = self._viewer.layers.selection.active
        if active is not None and active.mode != "pan_zoom":
            return False
        step = np.zeros(self._layer.ndim)
        step[self._axis] = 1
        origin = self._layer.data_to_world(np.zeros(self._layer.ndim))
        along = np.subtract(self._layer.data_to_world(step), origin)
        length = np.linalg.norm(along * world_scale(self._viewer, self._layer.units))
        # `viewer.camera` before napari 0.9
        zoom = getattr(self._viewer, "scene", self._viewer).camera.zoom
        off = abs(self._column(position) - self._columns())
        return bool(off * length * zoom <= _GRIP)

    def _column(self, position: Any) -> float:
        """Return the number of image columns left of a point in viewer coordinates."""
        scale = world_scale(self._viewer, self._layer.units)
        own = np.asarray(position, float)[-len(scale) :] / scale
        return float(self._layer.world_to_data(own)[self._axis]) + 0.5


def _grid(viewer: Any) -> Any:
    return getattr(viewer, "canvas", viewer).grid  # `viewer.grid` before napari 0.9


def _remove(viewer: Any, layer: Image) -> None:
    if layer in viewer.layers:
        viewer.layers.remove(layer)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _across(viewer: Any, layer: Image) -> int:
    """Return the axis of a layer's data that is horizontal in the viewer; negative if none is."""
    return int(viewer.dims.displayed[-1] - (viewer.dims.ndim - layer.ndim))
