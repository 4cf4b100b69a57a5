"""The mask as a clickable grid: each cell is a lag, coloured by the correlation of the noise."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QFocusEvent,
    QImage,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QWheelEvent,
)
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_autostructn2v.engine.types import Array
from napari_autostructn2v.plugin.mask.mask_model import Lag, MaskModel
from napari_autostructn2v.plugin.widgets.lag_grid import (
    AT_FIRST,
    ZERO,
    centred,
    coloured,
    highest_off_centre,
    outline,
    reach,
)

_LEAST, _USUAL = 170, 220  # pixels
_MARGIN = 9  # room for the arrows of whole rows and columns
_LEAST_REACH = 2
_NOTCH = 120  # of a mouse wheel
_OUTLINE, _CASING, _SHADE = QColor("white"), QColor("black"), QColor(255, 255, 255, 60)
_ARROWS = {  # what an arrow key adds to a lag
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


class MaskGrid(QWidget):
    """Click a cell to hide or show that pixel, drag to paint; keyboard: arrows, space, + and -.

    Negative correlation is blue, positive orange; hidden pixels are outlined in white. `described`
    carries a description of the cell under the pointer or the keyboard cursor.
    """

    described = Signal(str)

    def __init__(self, model: MaskModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._reach = _LEAST_REACH
        self._heat = QImage()
        self._hover: Lag | None = None
        self._cursor: Lag = (0, 0)
        self._stroke: object = None
        self._painting = True
        self._last: Lag = (0, 0)
        self._turned = 0
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(_LEAST)
        self.setAccessibleName("Noise correlation and mask")
        self.setToolTip(
            "Each cell is a neighbour of the central pixel; orange: its noise is similar, "
            "blue: opposite. Neighbours outlined in white are hidden in training.\n"
            "Click or drag to change them; Ctrl and wheel, or + and -, to zoom; the arrow "
            "keys and space do the same."
        )
        model.changed.connect(self._on_changed)
        model.measured.connect(self._on_measured)
        self._on_measured()

    def sizeHint(self) -> QSize:
        return QSize(_USUAL, _USUAL)

    @property
    def reach(self) -> int:
        """The largest lag that is shown."""
        return self._reach

    @reach.setter
    def reach(self, lags: int) -> None:
        self._reach = max(min(lags, self._model.max_lag), min(_LEAST_REACH, self._model.max_lag))
        self._cursor = self._within(self._cursor)
        self._hover = None
        self._heat = self._paint_heat()
        self.update()

    def cell_at(self, point: QPointF) -> Lag | None:
        """Return the lag of the cell at a point of the widget."""
        origin, side = self._geometry()
        x, y = ((p - o) // side for p, o in zip((point.x(), point.y()), origin, strict=True))
        lag = int(y) - self._reach, int(x) - self._reach
        return lag if max(map(abs, lag)) <= self._reach else None

    def cell(self, lag: Lag) -> QRectF:
        """Return the rectangle of a lag's cell."""
        (left, top), side = self._geometry()
        return QRectF(
            left + (lag[1] + self._reach) * side, top + (lag[0] + self._reach) * side, side, side
        )

    def describe(self, lag: Lag) -> str:
        """Describe a lag in words."""
        if lag == (0, 0):
            return "The pixel itself, always hidden"
        state = "hidden" if self._model.hides(lag) else "visible"
        where = f"dy {_signed(lag[0])}, dx {_signed(lag[1])}"
        rho = _value(self._model.rho, lag)
        if rho is None:
            return f"{where}: not measured, {state}"
        error = _value(self._model.error, lag)
        spread = "" if error is None else f" ± {error:.2f}"
        return f"{where}: {rho:+.2f}{spread}, {state}"

    def _geometry(self) -> tuple[tuple[int, int], int]:
        """Return left and top of the cells, and their side, in whole pixels."""
        count = 2 * self._reach + 1
        side = max(1, (min(self.width(), self.height()) - 2 * _MARGIN) // count)
        return ((self.width() - count * side) // 2, (self.height() - count * side) // 2), side

    def _within(self, lag: Lag) -> Lag:
        y, x = (min(max(n, -self._reach), self._reach) for n in lag)
        return y, x

    # -- painting

    def _paint_heat(self) -> QImage:
        """Return an image with one pixel per lag, transparent for lags that were not measured."""
        rho = np.zeros((1, 1)) if self._model.rho is None else self._model.rho
        pixels = coloured(centred(rho, self._reach, fill=np.nan), highest_off_centre(rho))
        side = len(pixels)
        return QImage(pixels.tobytes(), side, side, QImage.Format.Format_RGBA8888).copy()

    def paintEvent(self, event: QPaintEvent) -> None:
        (left, top), side = self._geometry()
        count = 2 * self._reach + 1
        square = QRectF(left, top, count * side, count * side)
        painter = QPainter(self)
        painter.setOpacity(1.0 if self.isEnabled() else 0.4)
        painter.fillRect(square, QColor(ZERO))
        painter.fillRect(square, Qt.BrushStyle.BDiagPattern)  # where nothing was measured
        painter.drawImage(square, self._heat)
        hidden = self._model.picture((self._reach, self._reach))
        if side >= 4:
            for y, x in np.argwhere(hidden):
                painter.fillRect(left + x * side, top + y * side, side, side, _SHADE)
        lines = [
            [QPoint(left + x * side, top + y * side) for y, x in edge] for edge in outline(hidden)
        ]
        thick = 2 if side >= 8 else 1
        for colour, width in ((_CASING, thick + 2), (_OUTLINE, thick)):
            pen = QPen(colour, width)
            pen.setCapStyle(Qt.PenCapStyle.SquareCap)
            painter.setPen(pen)
            for line in lines:
                painter.drawLine(*line)
        self._mark_centre(painter)
        self._mark_whole_lines(painter, square)
        self._mark_cursor(painter)

    def _mark_centre(self, painter: QPainter) -> None:
        cell = self.cell((0, 0))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        for colour, share in ((_CASING, 0.34), (_OUTLINE, 0.22)):
            painter.setBrush(colour)
            radius = max(share * cell.width(), 2 * share / 0.34)
            painter.drawEllipse(cell.center(), radius, radius)

    def _mark_whole_lines(self, painter: QPainter, square: QRectF) -> None:
        """Draw arrows at the ends of whole rows and columns."""
        painter.setBrush(self.palette().text())
        middle, inner, outer = square.center(), 2.0, _MARGIN - 1.0
        if self._model.whole_row:
            for edge, sign in ((square.left(), -1), (square.right(), 1)):
                foot, tip = edge + sign * inner, edge + sign * outer
                painter.drawPolygon(_arrow(QPointF(tip, middle.y()), foot, upright=False))
        if self._model.whole_column:
            for edge, sign in ((square.top(), -1), (square.bottom(), 1)):
                foot, tip = edge + sign * inner, edge + sign * outer
                painter.drawPolygon(_arrow(QPointF(middle.x(), tip), foot, upright=True))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _mark_cursor(self, painter: QPainter) -> None:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if self._hover is not None:
            painter.setPen(QPen(_OUTLINE, 1, Qt.PenStyle.DotLine))
            painter.drawRect(self.cell(self._hover).adjusted(0, 0, -1, -1))
        if self.hasFocus():
            for colour, width in ((_CASING, 4), (self.palette().highlight().color(), 2)):
                painter.setPen(QPen(colour, width))
                painter.drawRect(self.cell(self._cursor))

    # -- what the user does

    def mousePressEvent(self, event: QMouseEvent) -> None:
        lag = self.cell_at(event.position())
        if event.button() != Qt.MouseButton.LeftButton or lag is None:
            event.ignore()
            return
        # A stroke from the centre always hides, as the centre can't be shown.
        self._painting = lag == (0, 0) or not self._model.hides(lag)
        self._stroke = object()
        self._last = lag
        self._draw_to(lag)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        lag = self.cell_at(event.position())
        if self._stroke is not None and lag is not None and lag != self._last:
            self._draw_to(lag)
        self._point_at(lag)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._stroke = None

    def leaveEvent(self, event: QEvent) -> None:
        self._point_at(None)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom with Ctrl; otherwise leave the wheel to the scrolling panel."""
        if event.modifiers() != Qt.KeyboardModifier.ControlModifier:
            event.ignore()
            return
        self._turned += event.angleDelta().y()
        notches = int(self._turned / _NOTCH)  # towards zero: fine wheels turn by parts of one
        self._turned -= notches * _NOTCH
        self.reach -= notches
        self._point_at(self.cell_at(event.position()))
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in _ARROWS:
            step = _ARROWS[Qt.Key(event.key())]
            self._cursor = self._within((self._cursor[0] + step[0], self._cursor[1] + step[1]))
            self._hover = None
            self._tell()
        elif event.key() == Qt.Key.Key_Space:
            self._model.toggle(self._cursor)
        elif event.key() in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self.reach -= 1
        elif event.key() == Qt.Key.Key_Minus:
            self.reach += 1
        elif event.matches(QKeySequence.StandardKey.Undo):
            self._model.undo()
        elif event.matches(QKeySequence.StandardKey.Redo):
            self._model.redo()
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self._tell()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self._tell()

    def _draw_to(self, lag: Lag) -> None:
        """Paint all cells from the last one to this one, so that fast strokes have no gaps."""
        steps = max(abs(lag[0] - self._last[0]), abs(lag[1] - self._last[1]), 1)
        path = np.rint(np.linspace(self._last, lag, steps + 1)).astype(int)
        self._last = self._cursor = lag
        self._model.paint([(int(y), int(x)) for y, x in path], self._painting, self._stroke)
        self._tell()

    def _point_at(self, lag: Lag | None) -> None:
        if lag != self._hover:
            self._hover = lag
            self._tell()

    def _tell(self) -> None:
        lag = self._hover
        if lag is None and self.hasFocus():
            lag = self._cursor
        text = "" if lag is None else self.describe(lag)
        self.setAccessibleDescription(text)
        self.described.emit(text)
        self.update()

    # -- what the model does

    def _on_measured(self) -> None:
        rho, error = self._model.rho, self._model.error
        far = AT_FIRST if rho is None else min(reach(rho, error), AT_FIRST)
        self.reach = max(far, self._model.core_half + 1)

    def _on_changed(self) -> None:
        if self._model.core_half > self._reach:
            self.reach = self._model.core_half + 1
        self._tell()


def _value(values: Array | None, lag: Lag) -> float | None:
    if values is None or max(map(abs, lag)) > values.shape[0] // 2:
        return None
    centre = values.shape[0] // 2
    return float(values[centre + lag[0], centre + lag[1]])


def _signed(number: int) -> str:
    return f"{number:+d}" if number else "0"


def _arrow(tip: QPointF, foot: float, *, upright: bool) -> QPolygonF:
    half = 5.0
    if upright:
        return QPolygonF([tip, QPointF(tip.x() - half, foot), QPointF(tip.x() + half, foot)])
    return QPolygonF([tip, QPointF(foot, tip.y() - half), QPointF(foot, tip.y() + half)])
