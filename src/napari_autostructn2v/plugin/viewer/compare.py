"""Comparison of a result with the noisy image: hold a key, residual, linked contrast."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.experimental import link_layers
from napari.layers import Image, Layer
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QApplication

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.layers.geometry import world_scale
from napari_autostructn2v.plugin.layers.ondemand import Difference
from napari_autostructn2v.plugin.layers.writing import KIND

if TYPE_CHECKING:
    from napari_autostructn2v.plugin.layers.reading import LayerSnapshot

KEY = "N"  # free in napari, for the viewer and for every kind of layer
_CONTRAST = ("contrast_limits",)
_FRAME = "#ff9f1c"  # seen on grey images, on a dark and on a light canvas
_SAMPLE = 256  # pixels a side, to find how wide a residual spreads


class Revealed:
    """Makes one image visible and hides the images above it, until `restore`."""

    def __init__(self, viewer: Any, layer: Image) -> None:
        self._viewer = viewer
        layers = list(viewer.layers)  # a slice of the list itself would listen to its layers
        above = layers[layers.index(layer) + 1 :]
        covering = [
            other for other in above if isinstance(other, Image) and _overlap(viewer, other, layer)
        ]
        wanted = {layer: True} | dict.fromkeys(covering, False)
        self._set = {other: show for other, show in wanted.items() if other.visible != show}
        for other, show in self._set.items():
            other.visible = show

    def restore(self) -> None:
        """Undo it, except for layers removed or changed by others in the meantime."""
        for layer, shown in self._set.items():
            if layer in self._viewer.layers and layer.visible == shown:
                layer.visible = not shown


class Peek(QObject):
    """While `KEY` is held, shows the noisy image instead of everything computed from it.

    The key works if the canvas has the keyboard focus; `show` is for a button that is held. It
    ends by itself, and emits `closed`, if the noisy image's layer is removed.
    """

    closed = Signal()

    def __init__(self, viewer: Any, source: Image) -> None:
        super().__init__()
        self._viewer = viewer
        self._source = source
        self._revealed: Revealed | None = None
        self._open = True
        self._key_before = viewer.bind_key(KEY, None)
        viewer.bind_key(KEY, self._hold)
        viewer.layers.events.removed.connect(self._on_removed)

    def show(self, noisy: bool) -> None:
        if noisy and self._revealed is None and self._open:
            self._revealed = Revealed(self._viewer, self._source)
            # A key let go in another window is not heard of.
            QApplication.instance().focusChanged.connect(self._let_go)
        elif not noisy and self._revealed is not None:
            QApplication.instance().focusChanged.disconnect(self._let_go)
            self._revealed.restore()
            self._revealed = None

    def close(self) -> None:
        if not self._open:
            return
        self.show(False)
        self._open = False
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        bound = self._viewer.bind_key(KEY, None)  # another panel may have taken it since
        self._viewer.bind_key(KEY, self._below() if bound == self._hold else bound)
        self.closed.emit()

    def _below(self) -> Any:
        """Return what the key did before, ignoring comparisons that have ended since."""
        owner = getattr(self._key_before, "__self__", None)
        if isinstance(owner, Peek) and not owner._open:
            return owner._below()
        return self._key_before

    def _hold(self, viewer: Any) -> Generator[None]:
        self.show(True)
        yield
        self.show(False)

    def _let_go(self) -> None:
        self.show(False)

    def _on_removed(self, event: Any) -> None:
        if event.value is self._source:
            self.close()


def link_contrast(layers: Sequence[Layer]) -> None:
    """Link the contrast limits of two or more layers.

    Can be called again with an additional layer. napari unlinks layers that are removed.
    """
    link_layers(layers, _CONTRAST)


def add_residual(viewer: Any, image: LayerSnapshot, result: Image) -> Image:
    """Add the layer "<image> residual", noisy minus result, without copying.

    Its contrast limits are plus and minus three standard deviations. If the result has kept all of
    the signal, the residual looks like pure noise.

    Raises
    ------
    InputError
        If the result is not of the image's size, or too large to be subtracted at once.
    """
    if result.multiscale:
        raise InputError(
            f"{result.name!r} is too large for a residual; "
            "zoom in, press Preview region and use the residual of the preview"
        )
    if tuple(result.data.shape) != image.shape:
        raise InputError(
            f"{result.name!r} is {_size(result.data.shape)} and {image.name!r} is "
            f"{_size(image.shape)}; the residual needs images of the same size"
        )
    residual = Difference(image.data, result.data)
    limit = 3 * _spread(residual, image.axes) or 1.0
    layer = Image(
        residual,
        name=f"{image.name} residual",
        rgb=False,
        multiscale=False,
        contrast_limits=(-limit, limit),
        metadata={KIND: "residual"},
        **image.placement,
    )
    return viewer.add_layer(layer)


def frame(layer: Layer, thickness: float = 1) -> None:
    """Draw a frame around a layer; `thickness` in screen pixels."""
    box = layer.bounding_box
    box.line_color, box.line_thickness = _FRAME, thickness
    box.points, box.visible = False, True


def _spread(residual: Difference, axes: str) -> float:
    """Estimate the standard deviation in the middle of the middle plane; outliers don't count."""
    middle = tuple(
        slice(max(0, length // 2 - _SAMPLE // 2), length // 2 + _SAMPLE // 2)
        if axis in "YX"
        else length // 2
        for axis, length in zip(axes, residual.shape, strict=True)
    )
    sample = residual[middle]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0
    return 1.4826 * float(np.median(np.abs(sample - np.median(sample))))


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _overlap(viewer: Any, a: Layer, b: Layer) -> bool:
    """Return whether two layers overlap in the viewer, along the axes that both have."""
    common = min(a.ndim, b.ndim)
    drawn = (layer.extent.world * world_scale(viewer, layer.units) for layer in (a, b))
    first, second = (ends[:, -common:] for ends in drawn)
    return bool((np.maximum(first[0], second[0]) <= np.minimum(first[1], second[1])).all())
