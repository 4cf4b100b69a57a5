"""Keeps a Labels layer and the mask in step, so that napari's own tools edit the mask.

What napari tells of an edit differs: `paint` says that an entry of its history is complete, before
the pixels of a single edit are written and after those of a stroke; painting emits `labels_update`;
undo, redo and new data emit nothing but `set_data`. So the layer is compared with the mask at each.
napari's own callbacks come before a plugin's: what is mended here is drawn last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, Signal
from vispy.visuals.line.dash_atlas import DashAtlas

from napari_autostructn2v.engine.types import Array
from napari_autostructn2v.plugin.mask.mask_model import MaskModel
from napari_autostructn2v.plugin.widgets.lag_grid import POSITIVE, ZERO

HIDDEN = DirectLabelColormap(color_dict={0: ZERO, 1: POSITIVE, None: POSITIVE})


class MaskLayerLink(QObject):
    """Joins `model` and a Labels layer of `viewer` until one of them, or this, is gone.

    The layer shows the lags around its middle; labels other than 0 are hidden pixels. A whole row
    or column runs from edge to edge. The layer grows when the mask does not fit, in the same cells
    and from the same corner; its undo history is lost then, because it holds positions.
    `ended` comes once, when the layer was removed or `end` was called.

    Parameters
    ----------
    plane
        Which axes of the layer's data are Y and X; the mask is the same along all others.
    """

    ended = Signal()

    def __init__(
        self,
        model: MaskModel,
        layer: Any,
        viewer: Any,
        plane: tuple[int, int] = (-2, -1),
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._model = model
        self._layer = layer
        self._viewer = viewer
        self._plane = plane
        self._busy = False
        self._entry = False  # whether the last entry of napari's history is an edit not yet seen
        self._stroke: object = None
        self._pushed: object = None  # the model's stroke that napari's last entry is
        events = layer.events
        self._ties = [
            (events.paint, self._on_entry),
            (events.labels_update, self._pull),
            (events.set_data, self._pull),
            (viewer.layers.events.removed, self._on_removed),
        ]
        for emitter, callback in self._ties:
            emitter.connect(callback)
        model.changed.connect(self._push)
        model.measured.connect(self._begin)
        for partner in (self, model):
            partner.destroyed.connect(partial(_untie, self._ties))
        self._begin()

    @property
    def layer(self) -> Any:
        return self._layer

    def end(self) -> None:
        """Leave layer and mask as they are."""
        if self._ties:
            _untie(self._ties)
            self._model.changed.disconnect(self._push)
            self._model.measured.disconnect(self._begin)
            self.ended.emit()

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self.end()

    def _on_entry(self, event: Any = None) -> None:
        if not self._busy:
            self._entry = self._stroke is None  # else it is the end of a stroke
            self._stroke = None

    def _pull(self, event: Any = None) -> None:
        """Take over what was done to the layer, and mend it: mirror image, centre, other planes."""
        if self._busy:
            return
        edited, known = self._edited()
        in_stroke = bool(getattr(self._layer, "_block_history", False))
        if not in_stroke:
            self._stroke = None
        elif self._stroke is None:
            self._stroke = object()
        entry, self._entry = self._entry, False
        if np.array_equal(edited, known):
            return
        self._pushed = None
        with self._guard():
            if entry or in_stroke or not self._model.step_to(edited):
                self._model.change(edited, self._stroke)
            if not self._fits():
                self._grow()
            elif in_stroke:
                self._write()
            elif entry:
                self._write(instead=True)
            else:  # new data are no entry either
                self._replace(self._target())

    def _begin(self) -> None:
        """Show the mask as it is at first: there is no way back from it."""
        with self._guard():
            if self._fits():
                self._replace(self._target())
                self._forget()
            else:
                self._grow()

    def _push(self) -> None:
        """Show the mask; what belongs to one stroke in the dock is one entry in napari."""
        if self._busy:
            return
        with self._guard():
            stroke = self._model.stroke
            if not self._fits():
                self._grow()
                return
            again = stroke is not None and stroke is self._pushed
            self._pushed = stroke if self._write(instead=again) else None

    def _edited(self) -> tuple[Array, Array]:
        """The layer's cells, and the mask's on the same lags; an edit in any plane counts."""
        cells = self._cells(np.asarray(self._layer.data)) != 0
        sides = cells.shape[-2:]
        known = self._picture(sides) != 0
        changed = (cells != known).reshape(-1, *sides).any(0)
        odd = [(0, 1 - side % 2) for side in sides]
        return np.pad(known ^ changed, odd), np.pad(known, odd)

    def _picture(self, sides: Sequence[int]) -> Array:
        """The mask on a grid whose middle is lag 0; one of even sides has an edge less."""
        cells = self._model.picture([side // 2 for side in sides])
        return cells[: sides[0], : sides[1]]

    def _cells(self, data: Array) -> Array:
        """A view with Y and X last."""
        return np.moveaxis(data, self._plane, (-2, -1))

    def _target(self) -> Array:
        """What the layer's data should be; labels that are right stay what they are."""
        data = np.array(self._layer.data)
        cells = self._cells(data)
        hidden = self._picture(cells.shape[-2:]) != 0
        cells[...] = np.where((cells != 0) == hidden, cells, hidden)
        return data

    def _fits(self) -> bool:
        sides = self._cells(np.asarray(self._layer.data)).shape[-2:]
        return self._model.core_half <= (int(min(sides)) - 1) // 2

    def _grow(self) -> None:
        old = self._cells(np.asarray(self._layer.data))
        side = 2 * max(self._model.core_half + 1, *(n // 2 for n in old.shape[-2:])) + 1
        shape = (*old.shape[:-2], side, side)
        cells = np.broadcast_to(self._picture((side, side)), shape).astype(old.dtype)
        self._layer.data = np.moveaxis(cells, (-2, -1), self._plane).copy()
        self._forget()

    def _forget(self) -> None:
        """Empty napari's history, which it does for a layer that cannot be edited."""
        layer, mode = self._layer, self._layer.mode
        self._pushed = None
        if layer.editable:
            layer.editable = False
            layer.editable = True
            layer.mode = mode

    def _write(self, *, instead: bool = False) -> bool:
        """Change the layer as one entry of its history, or `instead` of the last one, if at all.

        In a stroke napari is at work on an entry, and this becomes a part of it.
        """
        layer, target = self._layer, self._target()
        if np.array_equal(layer.data, target):
            return instead
        if instead:
            layer.undo()
        if self._viewer.dims.ndisplay > layer.ndim:  # napari fails to set a flat layer's pixels
            self._replace(target)
            return False
        where = np.nonzero(np.asarray(layer.data) != target)
        if where[0].size:
            layer.data_setitem(where, target[where])
        return bool(where[0].size)

    def _replace(self, target: Array) -> None:
        """Change the layer without an entry in its history."""
        if not np.array_equal(self._layer.data, target):
            self._layer.data = target

    @contextmanager
    def _guard(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False


def _untie(ties: list[tuple[Any, Any]]) -> None:
    for emitter, callback in ties:
        emitter.disconnect(callback)
    ties.clear()


def warm_up() -> None:
    """Make napari and vispy prepare what their first Labels layer needs: half a second.

    Called in the worker thread, so that the window does not stand still when the mask arrives.
    """
    Labels(np.zeros((1, 1), np.uint8), colormap=HIDDEN)
    DashAtlas()  # its patterns are kept for all that come later
