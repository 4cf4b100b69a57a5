"""Layers beside an image that show the correlation of its noise and the mask, enlarged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap
from qtpy.QtCore import QObject, QTimer

from napari_autostructn2v.engine.types import Array
from napari_autostructn2v.plugin.layers.writing import KIND
from napari_autostructn2v.plugin.mask.mask_layer import HIDDEN, MaskLayerLink
from napari_autostructn2v.plugin.mask.mask_model import MaskModel
from napari_autostructn2v.plugin.widgets.lag_grid import (
    AT_FIRST,
    NEGATIVE,
    POSITIVE,
    ZERO,
    centred,
    highest_off_centre,
    reach,
    split_lines,
)

if TYPE_CHECKING:
    from napari_autostructn2v.plugin.layers.reading import LayerSnapshot

_PANEL = 0.48  # side of a panel in image heights; two panels and a gap make up the height
_GAP = 0.04
_RESIZED = 2.5  # how many times smaller or larger a canvas may have become
_OFF_CENTRE = 3  # screen pixels
_CORRELATION = Colormap([NEGATIVE, ZERO, POSITIVE], name="noise correlation")


class NoiseLayers(QObject):
    """Shows the noise beside an image, and `mask` as a layer to paint on. For the GUI thread.

    If an image is shown again, its layers are reused. Layers are added one per turn of the event
    loop, since napari needs at least a tenth of a second for each.
    """

    def __init__(self, viewer: Any, mask: MaskModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._show_next)
        self._waiting: deque[Callable[[], None]] = deque()
        self._viewer = viewer
        self._mask = mask
        self._known: WeakKeyDictionary[Any, NoisePanels] = WeakKeyDictionary()
        self._panels: NoisePanels | None = None
        self._link: MaskLayerLink | None = None

    @property
    def are_shown(self) -> bool:
        """Whether the layers are shown or about to be."""
        return bool(self._waiting) or (self._panels is not None and self._panels.are_shown)

    def show(self, image: LayerSnapshot, rho: Mapping[int, Array]) -> None:
        """Show the correlation of each channel, and the mask."""
        layer = image.layer()
        if layer is None or self._mask.rho is None:
            return
        panels = self._known.setdefault(layer, NoisePanels(self._viewer, image))
        if panels is not self._panels:
            self._release()
            self._panels = panels
        self._waiting.clear()
        for channel, lags in rho.items():
            self._waiting.append(partial(panels.show_noise, lags, channel))
        self._waiting.append(self._show_mask)
        self._later.start()

    def _show_next(self) -> None:
        self._waiting.popleft()()
        if self._waiting:
            self._later.start()

    def _show_mask(self) -> None:
        panels, rho = self._panels, self._mask.rho
        linked = self._link is not None and self._link.layer in self._viewer.layers
        if panels is None or rho is None or linked:
            return
        self._release()
        shown = panels.show_mask(self._mask.mask, rho)
        self._link = MaskLayerLink(self._mask, shown, self._viewer, panels.plane)

    def hide(self) -> None:
        """Remove the layers."""
        self._release()
        if self._panels is not None:
            self._panels.remove()

    def leave(self) -> None:
        """Leave the layers in the viewer, no longer synchronised with the mask."""
        self._release()
        self._panels = None

    def _release(self) -> None:
        self._later.stop()
        self._waiting.clear()
        if self._link is not None:
            self._link.end()
            self._link = None


class NoisePanels:
    """The layers of one image that show its noise and the mask. For the GUI thread.

    Showing again updates the existing layers, and adds those that the user has deleted.
    """

    def __init__(self, viewer: Any, image: LayerSnapshot) -> None:
        self._viewer = viewer
        self._image = image
        self._layers: dict[tuple[str, int | None], Any] = {}

    @property
    def plane(self) -> tuple[int, int]:
        """The axes of a panel's data that are Y and X."""
        iy, ix = self._image.axes.index("Y"), self._image.axes.index("X")
        return iy - min(iy, ix), ix - min(iy, ix)

    @property
    def are_shown(self) -> bool:
        return any(layer in self._viewer.layers for layer in self._layers.values())

    def remove(self) -> None:
        for layer in self._layers.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._layers.clear()

    def show_noise(self, rho: Array, channel: int = 0) -> None:
        """Show the autocorrelation beside the image, lag 0 in the centre."""
        self._show_rho(rho, channel, min(reach(rho), AT_FIRST))

    def show_mask(self, mask: Array, rho: Array, channel: int | None = None) -> Labels:
        """Show the mask below the autocorrelation, cell by cell on the same lags.

        A line longer than the measured lags, such as a whole row, extends from edge to edge.
        """
        measured = rho.shape[0] // 2
        core, *_ = split_lines(mask, (measured, measured))
        radius = max(min(reach(rho), AT_FIRST), *(side // 2 + 1 for side in core.shape))
        self._show_rho(rho, channel or 0, radius)
        hidden = centred((mask != 0).astype(np.uint8), radius)
        return self._show("mask", channel, Labels, hidden, colormap=HIDDEN, opacity=1.0)

    def _show_rho(self, rho: Array, channel: int, radius: int) -> None:
        limit = highest_off_centre(rho)
        look = {"contrast_limits": (-limit, limit), "colormap": _CORRELATION}
        self._show("autocorrelation", channel, Image, centred(rho, radius), **look)

    def _show(
        self, kind: str, channel: int | None, layer_type: type[Layer], values: Array, **look: Any
    ) -> Any:
        """Add or update a panel and return its layer."""
        row = 0 if kind == "autocorrelation" else 1
        data, placement = place_panel(values, self._image, row, channel or 0)
        key = (kind, channel)
        layer: Any = self._layers.get(key)
        if layer in self._viewer.layers:
            layer.data = data
            layer.scale, layer.translate = placement["scale"], placement["translate"]
            return layer
        which = "" if channel is None or self._image.channels == 1 else f" C{channel}"
        fitted = view_is_fitted(self._viewer)
        name = f"{self._image.name} {kind}{which}"
        layer = layer_type(data, name=name, metadata={KIND: kind}, **placement, **look)
        if isinstance(layer, Labels):
            layer.brush_size = 1
        selected = set(self._viewer.layers.selection)
        self._layers[key] = self._viewer.add_layer(layer)
        self._viewer.layers.selection = selected  # the user may be at work on another layer
        if fitted:
            self._viewer.reset_view()
        return layer


def place_panel(
    values: Array, image: LayerSnapshot, row: int, column: int
) -> tuple[Array, dict[str, Any]]:
    """Place a grid of lags to the right of an image, enlarged.

    Returns the panel's data and the keywords for its layer. The layer has the image's trailing
    axes, from the first of Y and X on, with their units and labels, as napari shows no units at
    all if one layer has none.
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


def view_is_fitted(viewer: Any) -> bool:
    """Return whether the camera still fitted all layers; if so, fit it again.

    This is tested by its centre, which changes if the user zooms or moves the view, and roughly
    by its zoom, which also changes with the canvas size if a panel is opened.
    """
    camera = getattr(viewer, "scene", viewer).camera  # `viewer.camera` before napari 0.9
    center, zoom = camera.center, camera.zoom
    if viewer.dims.ndisplay != 2:
        return False
    viewer.reset_view()
    fitted = 1 / _RESIZED < zoom / camera.zoom < _RESIZED and np.allclose(
        center[-2:], camera.center[-2:], atol=_OFF_CENTRE / zoom
    )
    if not fitted:
        camera.center, camera.zoom = center, zoom
    return bool(fitted)
