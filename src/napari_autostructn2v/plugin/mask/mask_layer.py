"""Synchronises a Labels layer with the mask, so that napari's own tools can edit the mask.

napari's events differ between edits: `paint` marks a complete entry of the history, before the
pixels of a single edit are written but after those of a stroke; painting emits `labels_update`;
undo, redo and new data emit only `set_data`. So the layer is compared with the mask at each of
them. napari's own callbacks come before a plugin's, so that corrections made here are drawn last.
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
    """Synchronises `model` with a Labels layer of `viewer` while all three exist.

    The layer shows lags with lag 0 in its middle; labels other than 0 are hidden pixels. A whole
    row or column extends from edge to edge. If the mask doesn't fit, the layer is enlarged from
    its corner, with cells of the same size; it loses its undo history, which holds positions.
    `ended` is emitted once, when the layer is removed or `end` is called.

    Parameters
    ----------
    plane
        The axes of the layer's data that are Y and X; the mask is the same along all others.
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
        """Stop synchronising; layer and mask stay as they are."""
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
        """Copy an edit of the layer to the mask; correct mirror image, centre and other planes."""
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
        """Show the initial mask, which can't be undone."""
        with self._guard():
            if self._fits():
                self._replace(self._target())
                self._forget()
            else:
                self._grow()

    def _push(self) -> None:
        """Show the mask; a stroke in the dock is one entry in napari's history."""
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
        """Return the cells of the layer and of the mask on the same lags, using all planes."""
        cells = self._cells(np.asarray(self._layer.data)) != 0
        sides = cells.shape[-2:]
        known = self._picture(sides) != 0
        changed = (cells != known).reshape(-1, *sides).any(0)
        odd = [(0, 1 - side % 2) for side in sides]
        return np.pad(known ^ changed, odd), np.pad(known, odd)

    def _picture(self, sides: Sequence[int]) -> Array:
        """Return the mask on a grid centred on lag 0; even sides lack one edge."""
        cells = self._model.picture([side // 2 for side in sides])
        return cells[: sides[0], : sides[1]]

    def _cells(self, data: Array) -> Array:
        """Return a view with Y and X last."""
        return np.moveaxis(data, self._plane, (-2, -1))

    def _target(self) -> Array:
        """Return the correct data of the layer; labels that are correct are kept."""
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
        """Clear napari's history by making the layer not editable for a moment."""
        layer, mode = self._layer, self._layer.mode
        self._pushed = None
        if layer.editable:
            layer.editable = False
            layer.editable = True
            layer.mode = mode

    def _write(self, *, instead: bool = False) -> bool:
        """Change the layer, if necessary, as an entry of its history or `instead` of the last one.

        During a stroke in napari, the change becomes part of that entry.
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
        """Change the layer without adding to its history."""
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
    """Let napari and vispy do what their first Labels layer needs, which takes half a second.

    Called in the worker thread, so that the window doesn't freeze when the mask is shown.
    """
    Labels(np.zeros((1, 1), np.uint8), colormap=HIDDEN)
    DashAtlas()  # its patterns are kept for all that come later
