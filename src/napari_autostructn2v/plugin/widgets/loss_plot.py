"""The plot of the losses, with pyqtgraph: drag to zoom, right-click to export.

Importing pyqtgraph is slow, so this module is imported in the thread of the first run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyqtgraph
from qtpy.QtCore import Qt
from qtpy.QtGui import QPalette

from napari_autostructn2v.plugin.widgets.losses import Stretch
from napari_autostructn2v.plugin.widgets.wheel import leave_wheel

_WIDE, _NARROW = 1.5, 0.7  # decades of the axis
_TITLE_FROM = 0.2  # of the axis; a shorter stretch has no room for its title
# Training and validation on a dark and on a light ground: 3 to 1 against it or better, and told
# apart in colour blindness, by lightness, and by their shape (line, dots).
_DARK = ("#5aa9ff", "#ffb13d")
_LIGHT = ("#1f6fd0", "#a84e00")


class LossAxis(pyqtgraph.AxisItem):
    """A logarithmic axis with as many labels as fit a low plot, at any zoom."""

    def logTickValues(
        self, low: float, high: float, size: float, _ticks: Any
    ) -> list[tuple[None, list[float]]]:
        """Return ticks at powers of ten, at 1, 2, 5 or at equal steps, depending on the range."""
        if high - low < _NARROW:
            ends = 10**low, 10**high
            step = self.tickSpacing(*ends, size)[0][0]
            values = step * np.arange(math.ceil(ends[0] / step), ends[1] / step)
        else:
            factors = (1,) if high - low > _WIDE else (1, 2, 5)
            decades = 10.0 ** np.arange(math.floor(low), math.ceil(high))
            values = np.outer(decades, factors).ravel()
        return [(None, [tick for tick in np.log10(values) if low <= tick <= high])]

    def logTickStrings(self, values: Iterable[float], _scale: float, _step: Any) -> list[str]:
        return [f"{10**value:.3g}" for value in values]


class LossPlot(pyqtgraph.PlotWidget):
    """Stretches of training one after the other, each with a title, a line and dots."""

    def __init__(self) -> None:
        super().__init__(axisItems={"left": LossAxis("left")})
        leave_wheel(self.viewport())
        plot = self.plotItem
        plot.setLogMode(y=True)
        plot.showGrid(y=True, alpha=0.25)
        plot.getViewBox().setMouseMode(pyqtgraph.ViewBox.RectMode)
        self._items: list[tuple[Any, Any, Any]] = []

    def reset(self) -> None:
        """Clear the plot; the next run is shown completely."""
        self.plotItem.clear()
        self.plotItem.enableAutoRange()
        self._items.clear()

    def draw(self, stretches: Sequence[Stretch], palette: QPalette) -> None:
        """Show points added to the last stretch or to new ones."""
        known = max(len(self._items) - 1, 0)
        for stretch in stretches[len(self._items) :]:
            self._items.append(self._add(stretch))
            self.recolour(palette)
        end = stretches[-1].last
        for stretch, (start, _, _) in zip(stretches, self._items, strict=True):
            start.label.setVisible(stretch.last - stretch.first >= _TITLE_FROM * end)
        for stretch, (_, line, dots) in zip(stretches[known:], self._items[known:], strict=True):
            line.setData(*stretch.training.arrays())
            dots.setData(*stretch.validation.arrays())

    def recolour(self, palette: QPalette) -> None:
        """Adapt colours to the theme."""
        ground, text = palette.window().color(), palette.windowText().color()
        line, dots = _DARK if ground.lightnessF() < 0.5 else _LIGHT
        self.setBackground(ground)
        for start, training, validation in self._items:
            start.setPen(text, style=Qt.PenStyle.DotLine)
            start.label.setColor(text)
            training.setPen(line, width=1)
            validation.setSymbolBrush(dots)
        for side in ("left", "bottom"):
            self.plotItem.getAxis(side).setPen(text)
            self.plotItem.getAxis(side).setTextPen(text)
        self.plotItem.setTitle(
            f'Loss by step &nbsp; <span style="color:{line}">&#9473; training</span> &nbsp; '
            f'<span style="color:{dots}">&#9679; validation</span>',
            color=text,
            size="8pt",
        )

    def _add(self, stretch: Stretch) -> tuple[Any, Any, Any]:
        label = {"position": 0.97, "anchors": [(0, 0), (0, 0)]}
        start = pyqtgraph.InfiniteLine(stretch.first, label=stretch.title, labelOpts=label)
        self.plotItem.addItem(start)
        line = self.plotItem.plot()
        dots = self.plotItem.plot(pen=None, symbol="o", symbolSize=5, symbolPen=None)
        return start, line, dots
