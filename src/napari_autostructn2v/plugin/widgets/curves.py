"""Draws how the loss falls while training: small, cheap to draw, and bounded in memory."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_autostructn2v.engine.events import Phase, Progress
from napari_autostructn2v.engine.labels import STAGE_TITLES

Floats = npt.NDArray[np.float64]

MOST_POINTS = 2000
_INTERVAL = 0.5  # seconds; each redraws the window, so in one go with the progress panel
_HEIGHT = 120
_MARGIN = 4
_LEAST_SPAN = 0.02  # decades, so that a loss that stands still is a line in the middle
_TICK_GAP = 0.165  # of the axis: the height of a label
# Training and validation on a dark and on a light ground: 3 to 1 against it or better, and told
# apart in colour blindness, by lightness, and by their shape (line, dots).
_DARK = (QColor("#5aa9ff"), QColor("#ffb13d"))
_LIGHT = (QColor("#1f6fd0"), QColor("#a84e00"))
_TOOLTIP = (
    "How far the network is off when it predicts hidden pixels; lower is better.\n"
    "Line: on what it trains with. Dots: on pixels kept aside (validation).\n"
    "If the dots rise while the line falls, training has gone on for too long.\n"
    "The validation loss can't choose between masks or stages: with another mask, other pixels "
    "are hidden. Compare the results and their quality figures instead."
)


class Series:
    """Steps and losses in order; neighbours are merged when there are `MOST_POINTS` of them."""

    def __init__(self) -> None:
        self._steps, self._losses = array("d"), array("d")

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: float, loss: float) -> None:
        """Add a point; a loss that has no logarithm is left out."""
        if not (math.isfinite(loss) and loss > 0):
            return
        self._steps.append(step)
        self._losses.append(loss)
        if len(self) >= MOST_POINTS:
            self._steps = array("d", _pairs(np.asarray(self._steps)).tobytes())
            self._losses = array("d", _pairs(np.asarray(self._losses)).tobytes())

    def log(self) -> tuple[Floats, Floats]:
        """Give the steps and the logarithms to base 10 of the losses."""
        return np.array(self._steps), np.log10(np.array(self._losses))


@dataclass
class Stretch:
    """The training of one network in one stage; the next one begins where it ends."""

    stage: Phase
    channel: int | None
    first: int
    last: int
    training: Series = field(default_factory=Series)
    validation: Series = field(default_factory=Series)

    @property
    def title(self) -> str:
        return STAGE_TITLES[self.stage] + ("" if self.channel is None else f" C{self.channel}")


class LossCurves(QWidget):
    """Training and validation loss of all stages, one after the other, on a log scale.

    Feed it `Progress` events on the GUI thread, as many as come: it redraws twice a second, and
    only where it can be seen.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.stretches: list[Stretch] = []
        self._drawn = -math.inf
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip(_TOOLTIP)
        self.setAccessibleName("Loss curves")

    def sizeHint(self) -> QSize:
        return QSize(270, _HEIGHT)

    def clear(self) -> None:
        self.stretches.clear()
        self._drawn = -math.inf
        self.update()

    def add(self, event: Progress) -> None:
        now = self.stretches[-1] if self.stretches else None
        if now is None or (now.stage, now.channel) != (event.stage, event.channel):
            start = 0 if now is None else now.last
            now = Stretch(event.stage, event.channel, start, start)
            self.stretches.append(now)
        now.last = max(now.last, now.first + event.step)
        now.training.add(now.first + event.step, event.loss)
        if event.validation_loss is not None:
            now.validation.add(now.first + event.step, event.validation_loss)
        if monotonic() - self._drawn >= _INTERVAL or event.step >= event.total:
            self._drawn = monotonic()
            self.update()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        _Drawing(self, painter).draw(self.stretches)
        painter.end()


class _Drawing:
    """One picture of the curves: a legend, the plot with its ticks, the number of steps."""

    def __init__(self, widget: QWidget, painter: QPainter) -> None:
        self._painter = painter
        font = widget.font()
        font.setPixelSize(11)
        painter.setFont(font)
        self._metrics = painter.fontMetrics()
        palette = widget.palette()
        self._text = palette.color(palette.ColorRole.WindowText)
        ground = palette.color(palette.ColorRole.Window)
        self._line, self._dot = _DARK if ground.lightnessF() < 0.5 else _LIGHT
        row = self._metrics.height()
        self._whole = QRectF(widget.rect()).adjusted(_MARGIN, 0, -_MARGIN, 0)
        self._plot = self._whole.adjusted(self._metrics.horizontalAdvance("0.000 "), row, 0, -row)

    def draw(self, stretches: list[Stretch]) -> None:
        curves = [(s.training.log(), s.validation.log()) for s in stretches]
        losses = [log for curve in curves for _, log in curve if log.size]
        if not losses or self._plot.width() < 1:
            centre = Qt.AlignmentFlag.AlignCenter
            self._write(self._whole, centre, "The loss curves appear here while training")
            return
        low = min(float(log.min()) for log in losses)
        high = max(float(log.max()) for log in losses)
        margin = max(0.05 * (high - low), _LEAST_SPAN / 2)
        self._low, self._high = low - margin, high + margin
        self._end = max(stretches[-1].last, 1)
        self._draw_ticks()
        self._draw_legend()
        for stretch, (training, validation) in zip(stretches, curves, strict=True):
            self._draw_start(stretch)
            self._draw_line(*training)
            self._draw_dots(*validation)

    def _x(self, steps: Floats) -> Floats:
        left, width = float(self._plot.left()), float(self._plot.width())
        return left + steps / self._end * width

    def _y(self, log: Floats) -> Floats:
        height = float(self._plot.height() - self._metrics.height())  # the stages' names on top
        return float(self._plot.bottom()) - (log - self._low) / (self._high - self._low) * height

    def _write(self, box: QRectF, where: Qt.AlignmentFlag, text: str) -> None:
        self._painter.setPen(self._text)
        self._painter.drawText(box, where, text)

    def _draw_ticks(self) -> None:
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        row = self._metrics.height()
        faint = QColor(self._text)
        faint.setAlphaF(0.25)
        for value in ticks(10**self._low, 10**self._high):
            y = float(self._y(np.array(math.log10(value))))
            self._painter.setPen(faint)
            self._painter.drawLine(QPointF(self._plot.left(), y), QPointF(self._plot.right(), y))
            width = self._plot.left() - self._whole.left()
            box = QRectF(self._whole.left(), y - row / 2, width - _MARGIN, row)
            self._write(box, right, f"{value:.3g}")
        below = QRectF(self._plot.left(), self._plot.bottom(), self._plot.width(), row)
        self._write(below, right, f"step {self._end:,}")

    def _draw_legend(self) -> None:
        """Title to the left; a piece of line and a dot, each with its word, to the right."""
        row = self._metrics.height()
        box = QRectF(self._whole.left(), 0, self._whole.width(), row)
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        self._write(box, left, "Loss")
        x = box.right()
        for word, colour in (("validation", self._dot), ("training", self._line)):
            x -= self._metrics.horizontalAdvance(word)
            self._write(QRectF(x, 0, box.right() - x, row), left, word)
            x -= 18
            if word == "training":
                self._painter.setPen(QPen(colour, 2))
                self._painter.drawLine(QPointF(x, row / 2), QPointF(x + 13, row / 2))
            else:
                self._dots(colour, [QPointF(x + 9, row / 2)])
            x -= 8

    def _draw_start(self, stretch: Stretch) -> None:
        """A stage's name, where there is room for it, and a line where it follows another."""
        start, end = self._x(np.array([stretch.first, stretch.last], float))
        if stretch.first:
            self._painter.setPen(QPen(self._text, 1, Qt.PenStyle.DotLine))
            self._painter.drawLine(
                QPointF(start, self._plot.top()), QPointF(start, self._plot.bottom())
            )
        if end - start > self._metrics.horizontalAdvance(stretch.title) + 6:
            box = QRectF(start + 3, self._plot.top(), end - start, self._metrics.height())
            self._write(box, Qt.AlignmentFlag.AlignLeft, stretch.title)

    def _draw_line(self, steps: Floats, log: Floats) -> None:
        x, y = thinned(self._x(steps), self._y(log))
        self._painter.setPen(QPen(self._line, 1.5))
        self._painter.drawPolyline(QPolygonF(_points(x, y)))

    def _draw_dots(self, steps: Floats, log: Floats) -> None:
        self._dots(self._dot, _points(*thinned(self._x(steps), self._y(log), every=4)))

    def _dots(self, colour: QColor, points: list[QPointF]) -> None:
        self._painter.setPen(Qt.PenStyle.NoPen)
        self._painter.setBrush(colour)
        for point in points:
            self._painter.drawEllipse(point, 2.4, 2.4)
        self._painter.setBrush(Qt.BrushStyle.NoBrush)


def ticks(low: float, high: float) -> list[float]:
    """Choose round values between two positive numbers, for a logarithmic axis.

    At least two; neighbours are far enough apart for their labels.

    >>> ticks(0.01, 20)
    [0.01, 0.1, 1.0, 10.0]
    """
    length = math.log10(high / low)
    choices = _decades(low, high) if high > 5 * low else _plain(low, high)
    for values in choices:
        if len(values) > 1 and np.diff(np.log10(values)).min() >= _TICK_GAP * length:
            return values
    return [choices[0][0], choices[0][-1]]


def _decades(low: float, high: float) -> list[list[float]]:
    """Give the choices of ticks over much of a decade and more, dense ones first."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    dense = [[f * 10.0**e for e in exponents for f in factors] for factors in ((1, 2, 5), (1, 3))]
    decades = [10.0**e for e in exponents if low <= 10.0**e <= high]
    inside = [[value for value in values if low <= value <= high] for values in dense]
    return inside + [decades[::step] for step in range(1, max(len(decades), 2))]


def _plain(low: float, high: float) -> list[list[float]]:
    """Give the choices of ticks over less than half a decade, dense ones first."""
    step = 10.0 ** math.floor(math.log10(high - low))
    parts = [step * factor for factor in (0.1, 0.2, 0.5, 1, 2, 5)]
    return [
        [i * part for i in range(math.ceil(low / part), math.floor(high / part) + 1)]
        for part in parts
    ]


def thinned(x: Floats, y: Floats, every: int = 1) -> tuple[Floats, Floats]:
    """Average the points that fall within `every` pixels of the screen."""
    if x.size == 0:
        return x, y
    column = (x / every).astype(int)
    column -= column.min()
    count = np.bincount(column)
    seen = count > 0
    return (
        np.bincount(column, x)[seen] / count[seen],
        np.bincount(column, y)[seen] / count[seen],
    )


def _points(x: Floats, y: Floats) -> list[QPointF]:
    return [QPointF(*pair) for pair in zip(x.tolist(), y.tolist(), strict=True)]


def _pairs(values: Floats) -> Floats:
    pairs: Floats = values[: values.size // 2 * 2].reshape(-1, 2)
    return np.asarray(pairs.mean(1))
