"""The model of the mask editor: the mask and its history.

Whole rows and columns are flags, since as pixels they are too long to show.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from qtpy.QtCore import QObject, Signal
from scipy import ndimage

from napari_autostructn2v.engine.mask.shapes import SINGLE_PIXEL, check_mask, union
from napari_autostructn2v.engine.types import Array
from napari_autostructn2v.plugin.widgets.lag_grid import centred, split_lines, trimmed

Lag = tuple[int, int]
"""(dy, dx) in pixels."""

_HISTORY = 200
_UNMEASURED_LAG = 10
_CROSS: Array = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True, eq=False)
class Shape:
    """A mask: `core`, with odd sides, no empty border and its centre set, and two flags."""

    core: Array
    row: bool = False
    column: bool = False

    def equals(self, other: Shape) -> bool:
        flags = (self.row, self.column) == (other.row, other.column)
        return flags and np.array_equal(self.core, other.core)

    @property
    def half(self) -> Array:
        return np.array(self.core.shape) // 2

    def picture(self, half: Iterable[int]) -> Array:
        """Return the lags up to `half` (y, x); whole rows and columns extend from edge to edge."""
        y, x = half
        cells = centred(self.core, (y, x))
        cells[y, :] |= self.row
        cells[:, x] |= self.column
        return cells


_SINGLE = Shape(SINGLE_PIXEL)


@dataclass(frozen=True, eq=False)
class MaskState:
    """A mask with its history and the measurement it is derived from.

    Attributes
    ----------
    shape, automatic
        The present mask, and the one made by the rule.
    rho, error
        (2L+1, 2L+1) autocorrelation and its standard error, lag 0 in the centre; None before the
        noise is measured.
    full_half
        A line that reaches this far from the centre on both sides is a whole row or column.
    undo, redo
        Earlier and later masks, the nearest last.
    """

    shape: Shape = _SINGLE
    automatic: Shape = _SINGLE
    rho: Array | None = None
    error: Array | None = None
    full_half: int = _UNMEASURED_LAG
    undo: tuple[Shape, ...] = ()
    redo: tuple[Shape, ...] = ()


class MaskModel(QObject):
    """A structural mask, the measured noise, and methods to edit the mask. For the GUI thread.

    `changed` is emitted if the mask, its history or `symmetric` changes, `measured` if the noise
    does. If `symmetric`, edits of a lag apply to its mirror image too. Successive edits with the
    same `stroke` are one step of the history.
    """

    changed = Signal()
    measured = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = MaskState()
        self._symmetric = True
        self._stroke: object = None

    @property
    def state(self) -> MaskState:
        return self._state

    @state.setter
    def state(self, state: MaskState) -> None:
        self._state, self._stroke = state, None
        self.measured.emit()
        self.changed.emit()

    def set_noise(self, rho: Array, error: Array | None, mask: Array, full_half: int) -> None:
        """Set a new measurement and its automatic mask; parameters as in `MaskState`.

        `full_half` is the side of a training patch minus one.
        """
        shape = _split(check_mask(mask), full_half)
        self.state = MaskState(shape, shape, rho, error, full_half)

    def forget(self) -> None:
        """Reset to the initial state: no measurement, and no hidden neighbours."""
        self.state = MaskState()

    @property
    def rho(self) -> Array | None:
        return self._state.rho

    @property
    def error(self) -> Array | None:
        return self._state.error

    @property
    def mask(self) -> Array:
        """The mask as an array: uint8, odd sides, centre 1, with whole rows and columns."""
        return self.written_out(self._state.full_half)

    def written_out(self, full_half: int) -> Array:
        """Return `mask` with whole rows and columns of this half-length."""
        length = 2 * full_half + 1
        lines = [np.ones((1, length), np.uint8)] * self._state.shape.row
        lines += [np.ones((length, 1), np.uint8)] * self._state.shape.column
        return union(self._state.shape.core, *lines)

    @property
    def max_lag(self) -> int:
        """The largest lag that can be edited: what was measured, or the mask if that is larger."""
        measured = _UNMEASURED_LAG if self.rho is None else self.rho.shape[0] // 2
        return max(measured, self.core_half)

    @property
    def core_half(self) -> int:
        """The largest lag of the mask, apart from whole rows and columns."""
        return int(self._state.shape.half.max())

    @property
    def is_automatic(self) -> bool:
        return self._state.shape.equals(self._state.automatic)

    @property
    def stroke(self) -> object:
        """The stroke of the last edit, or None."""
        return self._stroke

    @property
    def symmetric(self) -> bool:
        return self._symmetric

    @symmetric.setter
    def symmetric(self, on: bool) -> None:
        if on != self._symmetric:
            self._symmetric = on
            self.changed.emit()

    @property
    def whole_row(self) -> bool:
        return self._state.shape.row

    @whole_row.setter
    def whole_row(self, on: bool) -> None:
        self._enter(Shape(self._state.shape.core, on, self._state.shape.column))

    @property
    def whole_column(self) -> bool:
        return self._state.shape.column

    @whole_column.setter
    def whole_column(self, on: bool) -> None:
        self._enter(Shape(self._state.shape.core, self._state.shape.row, on))

    def picture(self, half: Iterable[int]) -> Array:
        """Return the mask as uint8 cells up to the lags `half` (y, x)."""
        return self._state.shape.picture(half)

    def hides(self, lag: Lag) -> bool:
        half = np.abs(lag)
        return bool(self.picture(half)[tuple(half + lag)])

    def toggle(self, lag: Lag) -> None:
        self.paint([lag], not self.hides(lag))

    def paint(self, lags: Iterable[Lag], hidden: bool = True, stroke: object = None) -> None:
        """Hide or show lags; lags beyond `max_lag` are ignored, and lag 0 stays hidden."""
        limit = self.max_lag
        cells = self.picture((limit, limit))
        at = [(y + limit, x + limit) for y, x in lags if max(abs(y), abs(x)) <= limit]
        if at:
            cells[tuple(np.transpose(at))] = hidden
        self.change(cells, stroke)

    def change(self, cells: Array, stroke: object = None) -> None:
        """Apply an edit made on a `picture` of the mask, an array with odd sides.

        A whole row or column with a gap becomes separate pixels.
        """
        half = np.maximum(np.array(cells.shape) // 2, self._state.shape.half)
        before = self.picture(half).astype(bool)
        after = before.copy()
        centre = tuple(
            slice(h - n // 2, h + n // 2 + 1) for h, n in zip(half, cells.shape, strict=True)
        )
        after[centre] = cells != 0
        if self._symmetric:
            edited = after != before
            hidden, shown = edited & after, edited & ~after
            after = (after & ~shown[::-1, ::-1]) | hidden | hidden[::-1, ::-1]
        after[tuple(half)] = True
        self._enter(_split(after, self._state.full_half, self._state.shape), stroke)

    def set_mask(self, mask: Array, stroke: object = None) -> None:
        """Replace the mask by one from a file or a rule; raises the errors of `check_mask`."""
        self._enter(_split(check_mask(mask), self._state.full_half), stroke)

    def reset(self) -> None:
        """Restore the automatic mask."""
        self._enter(self._state.automatic)

    def clear(self) -> None:
        """Hide only the pixel itself."""
        self._enter(_SINGLE)

    def grow(self) -> None:
        """Hide one more pixel on every side; extend a line at its ends."""
        core = self._state.shape.core
        wider = ndimage.binary_dilation(np.pad(core, 1), _neighbours(core))
        limit = np.minimum(np.array(wider.shape) // 2, self.max_lag)
        self._enter(self._with_core(centred(wider, limit)))

    def shrink(self) -> None:
        """Hide one pixel fewer on every side; shorten a line at its ends."""
        core = self._state.shape.core
        inner = ndimage.binary_erosion(core, _neighbours(core))
        if inner.sum() <= 1:  # too thin to lose a border: its ends
            inner = centred(core, np.maximum(self._state.shape.half - 1, 0))
        self._enter(self._with_core(inner))

    @property
    def can_undo(self) -> bool:
        return bool(self._state.undo)

    @property
    def can_redo(self) -> bool:
        return bool(self._state.redo)

    def undo(self) -> None:
        now = self._state
        if now.undo:
            *rest, shape = now.undo
            self._change(shape, tuple(rest), (*now.redo, now.shape))

    def redo(self) -> None:
        now = self._state
        if now.redo:
            *rest, shape = now.redo
            self._change(shape, (*now.undo, now.shape), tuple(rest))

    def step_to(self, cells: Array) -> bool:
        """Undo or redo if that results in the mask shown by `cells`, otherwise do nothing.

        This keeps the history in step with that of a view, such as napari's.
        """
        half = np.array(cells.shape) // 2
        for step, history in ((self.undo, self._state.undo), (self.redo, self._state.redo)):
            if history and np.array_equal(history[-1].picture(half) != 0, cells != 0):
                step()
                return True
        return False

    def _with_core(self, core: Array) -> Shape:
        cells = core.astype(np.uint8)
        cells[tuple(side // 2 for side in cells.shape)] = 1
        return Shape(trimmed(cells), self._state.shape.row, self._state.shape.column)

    def _enter(self, shape: Shape, stroke: object = None) -> None:
        now = self._state
        if shape.equals(now.shape):
            return
        goes_on = stroke is not None and stroke is self._stroke
        self._change(shape, now.undo if goes_on else (*now.undo, now.shape)[-_HISTORY:], (), stroke)

    def _change(
        self,
        shape: Shape,
        undo: tuple[Shape, ...],
        redo: tuple[Shape, ...],
        stroke: object = None,
    ) -> None:
        self._state = replace(self._state, shape=shape, undo=undo, redo=redo)
        self._stroke = stroke
        self.changed.emit()


def _split(cells: Array, full_half: int, old: Shape | None = None) -> Shape:
    """Return the shape of a mask, detecting whole rows and columns; any length if in `old`."""
    least = (0 if old and old.column else full_half, 0 if old and old.row else full_half)
    core, row, column = split_lines(cells, least)
    if old:  # a line below a whole row or column comes back when that is taken away
        y, x = old.half
        core = union(core, *[old.core[y : y + 1, :]] * row, *[old.core[:, x : x + 1]] * column)
    return Shape(core, row, column)


def _neighbours(core: Array) -> Array:
    """Along a line only its own direction counts."""
    if core.shape[0] == 1 < core.shape[1]:
        return np.ones((1, 3), bool)
    if core.shape[1] == 1 < core.shape[0]:
        return np.ones((3, 1), bool)
    return _CROSS
