"""The only file that adds layers: results beside the source, filling up while they are computed.

The engine opens targets in its thread; layers are made, refreshed and removed on the GUI thread.
"""

from __future__ import annotations

import math
import tempfile
import weakref
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import psutil
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap, DirectLabelColormap
from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_autostructn2v.engine.events import MaskFound, NoiseMeasured, Phase
from napari_autostructn2v.engine.io.target import Region, place
from napari_autostructn2v.engine.source import Source

if TYPE_CHECKING:
    from napari_autostructn2v.plugin.reading import LayerSnapshot

Array = npt.NDArray[Any]

_TITLE = {"stage1": "Stage 1", "stage2": "Stage 2"}
_REFRESH_MS = 100
_PANEL = 0.48  # side of a panel in image heights; two panels and a gap make up the height
_GAP = 0.04
_CHUNK = 512
_VISIBLE = 0.05  # a correlation below this is not worth showing
_LEAST_REACH = 5
KIND = "napari-autostructn2v"  # the key in a layer's metadata that tells what it is

# Blue below zero, orange above: told apart in colour blindness, readable in both themes.
_NEGATIVE, _ZERO, _POSITIVE = "#3d9bff", "#1d1f24", "#ff9f1c"
_CORRELATION = Colormap([_NEGATIVE, _ZERO, _POSITIVE], name="noise correlation")
_HIDDEN = DirectLabelColormap(color_dict={0: _ZERO, 1: _POSITIVE, None: _POSITIVE})


class LayerTarget:
    """One result image that napari shows while it fills; the engine's `Target`.

    The engine's thread writes; `layer` is the GUI thread's. `state` tells what becomes of it.
    """

    def __init__(self, array: Any, source: Source, stage: Phase, sink: LayerSink) -> None:
        self.array = array
        self.axes = source.axes
        self.stage = stage
        self.state: Literal["open", "complete", "partial"] = "open"
        self.dirty = False
        self._begun = False
        self.layer: Any = None
        self._source = source
        self._sink = sink

    def write(self, plane: int, region: Region, block: npt.NDArray[np.float32]) -> None:
        index, values = place(self._source, self.axes, self.array.dtype, plane, region, block)
        self.array[index] = values
        self.dirty = self._begun = True

    def commit(self) -> None:
        self.state = "complete"

    def discard(self) -> None:
        if self.state == "open":
            self._sink.discarded.emit(self)

    def keep_partial(self) -> None:
        if self.state == "open" and self._begun:
            self.state = "partial"


class LayerSink(QObject):
    """The engine's `Sink` for one image layer, and the panels that show its noise.

    `open` is called in the worker thread; everything else belongs to the GUI thread. A layer
    that the user deletes is not missed: its array lives on until the run ends. `used` tells
    whether the engine has opened a target.
    """

    opened = Signal(object)
    discarded = Signal(object)

    def __init__(self, viewer: Any, image: LayerSnapshot, in_memory: int | None = None) -> None:
        super().__init__()
        self._viewer = viewer
        self._image = image
        self._in_memory = in_memory
        self.used = False
        self._targets: list[LayerTarget] = []
        self._panels: dict[tuple[str, int | None], Any] = {}
        self._timer = QTimer(self)
        self._timer.setInterval(_REFRESH_MS)
        self._timer.timeout.connect(self._refresh)
        queued = Qt.ConnectionType.QueuedConnection
        self.opened.connect(self._add_result, queued)
        self.discarded.connect(self._remove_result, queued)

    def open(
        self, image: int, source: Source, stage: Phase, dtype: npt.DTypeLike, final: bool
    ) -> LayerTarget:
        self.used = True
        array = _allocate(source, np.dtype(dtype), self._in_memory)
        target = LayerTarget(array, source, stage, self)
        self.opened.emit(target)
        return target

    def show_noise(self, event: NoiseMeasured) -> None:
        """Show the autocorrelation beside the image, lag 0 in the centre."""
        self._show_rho(event.rho, event.channel, reach(event.rho))

    def show_mask(self, event: MaskFound) -> None:
        """Show the mask below the autocorrelation, cell by cell on the same lags."""
        radius = max(reach(event.rho), *(side // 2 + 1 for side in event.mask.shape))
        self._show_rho(event.rho, event.channel or 0, radius)
        hidden = centred((event.mask != 0).astype(np.uint8), radius)
        self._show_panel("mask", event.channel, Labels, hidden, colormap=_HIDDEN, opacity=1.0)

    def _show_rho(self, rho: Array, channel: int, radius: int) -> None:
        limit = highest_off_centre(rho)
        look = {"contrast_limits": (-limit, limit), "colormap": _CORRELATION}
        self._show_panel("autocorrelation", channel, Image, centred(rho, radius), **look)

    def close(self) -> None:
        """Show the results a last time; what the engine has left open is taken away."""
        self._timer.stop()
        for target in list(self._targets):
            if target.state == "open":
                self._remove_result(target)
            elif target.layer in self._viewer.layers:
                if target.state == "partial":
                    target.layer.name += " (partial)"
                target.layer.refresh()
        self._targets.clear()

    def _add_result(self, target: LayerTarget) -> None:
        self._targets.append(target)
        target.layer = self._viewer.add_image(
            target.array,
            name=f"{self._image.name} {_TITLE[target.stage]}",
            rgb=False,
            multiscale=False,
            metadata={KIND: target.stage},
            **self._image.placement,
            **self._image.look,
        )
        self._timer.start()

    def _remove_result(self, target: LayerTarget) -> None:
        if target in self._targets:
            self._targets.remove(target)
        if target.layer in self._viewer.layers:
            self._viewer.layers.remove(target.layer)

    def _refresh(self) -> None:
        began = perf_counter()
        for target in self._targets:
            if target.dirty and target.layer in self._viewer.layers:
                target.dirty = False
                target.layer.refresh(extent=False, thumbnail=False)
        # Where a plane is slow to draw, the window must stay usable: a fifth of its time at most.
        spent = 1000 * (perf_counter() - began)
        self._timer.setInterval(max(_REFRESH_MS, int(4 * spent)))

    def _show_panel(
        self, kind: str, channel: int | None, layer_type: type[Layer], values: Array, **look: Any
    ) -> None:
        row = 0 if kind == "autocorrelation" else 1
        data, placement = place_panel(values, self._image, row, channel or 0)
        key = (kind, channel)
        if self._panels.get(key) in self._viewer.layers:
            layer = self._panels[key]
            layer.data = data
            layer.scale, layer.translate = placement["scale"], placement["translate"]
            return
        which = "" if channel is None or self._image.channels == 1 else f" C{channel}"
        fitted = view_is_fitted(self._viewer)
        name = f"{self._image.name} {kind}{which}"
        layer = layer_type(data, name=name, metadata={KIND: kind}, **placement, **look)
        selected = set(self._viewer.layers.selection)
        self._panels[key] = self._viewer.add_layer(layer)
        self._viewer.layers.selection = selected  # the user may be at work on another layer
        if fitted:
            self._viewer.reset_view()


def warm_up() -> None:
    """Make napari import what its first Labels layer needs: a third of a second.

    Called in the worker thread, so that the window does not stand still when the mask arrives.
    """
    Labels(np.zeros((1, 1), np.uint8), colormap=_HIDDEN)


def place_panel(
    values: Array, image: LayerSnapshot, row: int, column: int
) -> tuple[Array, dict[str, Any]]:
    """Put a grid of lags to the right of an image, at a size that can be read.

    Returns the panel's data and the keywords that place its layer. The layer has the image's
    trailing axes, from the first of Y and X on, with their units and labels: napari leaves out
    units altogether when one layer has none.
    """
    iy, ix = image.axes.index("Y"), image.axes.index("X")
    first = min(iy, ix)
    scale, translate = (np.array(image.placement[key], float) for key in ("scale", "translate"))
    top, left = image.extent[0, [iy, ix]] - abs(scale[[iy, ix]]) / 2
    bottom, right = image.extent[1, [iy, ix]] + abs(scale[[iy, ix]]) / 2
    unit = max(bottom - top, (right - left) / 2)
    cell = _PANEL * unit / max(values.shape)
    step = (_PANEL + _GAP) * unit
    scale[[iy, ix]] = cell
    translate[iy] = top + row * step + cell / 2
    translate[ix] = right + _GAP * unit + column * step + cell / 2

    shape = list(image.shape)
    shape[iy], shape[ix] = values.shape
    grid = values if iy < ix else values.T
    spread = tuple(slice(None) if i in (iy, ix) else None for i in range(first, len(shape)))
    placement = {
        "scale": scale[first:],
        "translate": translate[first:],
        "units": image.placement["units"][first:],
        "axis_labels": image.placement["axis_labels"][first:],
    }
    return np.array(np.broadcast_to(grid[spread], shape[first:])), placement


def centred(lags: Array, radius: int) -> Array:
    """Cut a grid of odd sides to the lags up to `radius`, or pad it with zeros up to there."""
    for axis, side in enumerate(lags.shape):
        if (excess := side // 2 - radius) > 0:
            lags = np.take(lags, range(excess, side - excess), axis)
    missing = [radius - side // 2 for side in lags.shape]
    return np.pad(lags, [(side, side) for side in missing])


def reach(rho: Array) -> int:
    """Find how far the correlation reaches, plus a margin: the lags worth looking at."""
    centre = np.array(rho.shape)[:, None] // 2
    far = np.abs(np.nonzero(np.abs(rho) > _VISIBLE) - centre).max(initial=0)
    return int(min(max(far + 2, _LEAST_REACH), *centre.flat))


def highest_off_centre(rho: Array) -> float:
    """Find the largest correlation with another pixel; at least what counts as visible."""
    lags = np.abs(rho)
    lags[tuple(side // 2 for side in lags.shape)] = 0
    return max(float(np.nanmax(lags)), _VISIBLE)


def view_is_fitted(viewer: Any) -> bool:
    """Whether the camera shows all layers whole, as napari itself sets it; else leave it be."""
    camera = getattr(viewer, "scene", viewer).camera  # `viewer.camera` before napari 0.9
    center, zoom = camera.center, camera.zoom
    if viewer.dims.ndisplay != 2:
        return False
    viewer.reset_view()
    fitted = np.isclose(zoom, camera.zoom, rtol=0.05) and np.allclose(
        center[-2:], camera.center[-2:], atol=20 / zoom
    )
    if not fitted:
        camera.center, camera.zoom = center, zoom
    return bool(fitted)


def _allocate(source: Source, dtype: np.dtype[Any], in_memory: int | None) -> Any:
    """Make an array of zeros: in memory, or on disk if it is larger than `in_memory` bytes.

    The default limit is a quarter of the memory that is free. The folder goes with the array.
    """
    limit = psutil.virtual_memory().available // 4 if in_memory is None else in_memory
    if math.prod(source.shape) * dtype.itemsize <= limit:
        return np.zeros(source.shape, dtype)
    import zarr

    folder = tempfile.TemporaryDirectory(prefix="autostructn2v-", ignore_cleanup_errors=True)
    array = zarr.create_array(
        store=str(Path(folder.name, "result.zarr")),
        shape=source.shape,
        chunks=tuple(
            min(length, _CHUNK) if axis in "YX" else 1
            for axis, length in zip(source.axes, source.shape, strict=True)
        ),
        dtype=dtype,
        fill_value=0,
    )
    weakref.finalize(array, folder.cleanup)
    return array
