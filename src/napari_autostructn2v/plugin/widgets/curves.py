"""The loss curves during training, redrawn at a limited rate."""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QLabel, QSizePolicy, QStackedLayout, QWidget

from napari_autostructn2v.engine.events import Progress
from napari_autostructn2v.plugin.widgets.losses import Stretch

if TYPE_CHECKING:
    from napari_autostructn2v.plugin.widgets.loss_plot import LossPlot

_INTERVAL = 0.5  # seconds; each redraws the window, so in one go with the progress panel
_HEIGHT = 150
_TOOLTIP = (
    "Error of the network in predicting hidden pixels; lower is better.\n"
    "Line: training data. Dots: held-out data (validation).\n"
    "If the dots rise while the line falls, the network is overfitting: train for less time.\n"
    "Don't compare masks or stages by the validation loss: with another mask, other pixels "
    "are hidden. Compare the results and their quality instead."
)


class LossCurves(QWidget):
    """Training and validation loss of all stages, one after the other.

    Pass it all `Progress` events on the GUI thread: it redraws at most twice a second, and only if
    it is visible. The first drawing imports pyqtgraph, unless the run's thread has.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.stretches: list[Stretch] = []
        self.plot: LossPlot | None = None  # until there is something to draw
        self._drawn = -math.inf
        self._pages = QStackedLayout(self)
        empty = QLabel("The loss curves appear here while training")
        empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        empty.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self._pages.addWidget(empty)
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip(_TOOLTIP)
        self.setAccessibleName("Loss curves")

    def clear(self) -> None:
        self.stretches.clear()
        self._drawn = -math.inf
        self._pages.setCurrentIndex(0)
        if self.plot is not None:
            self.plot.reset()

    def add(self, event: Progress) -> None:
        now = self.stretches[-1] if self.stretches else None
        if now is None or (now.stage, now.channel) != (event.stage, event.channel):
            start = 0 if now is None else now.last
            now = Stretch(event.stage, event.channel, start, start)
            self.stretches.append(now)
        now.add(event)
        if monotonic() - self._drawn >= _INTERVAL or event.step >= event.total:
            self._draw()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        themed = event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        if themed and self.plot is not None:
            self.plot.recolour(self.palette())

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._draw()

    def _draw(self) -> None:
        if not self.isVisible() or not any(len(stretch.training) for stretch in self.stretches):
            return
        self._drawn = monotonic()
        if self.plot is None:
            from napari_autostructn2v.plugin.widgets.loss_plot import LossPlot

            self.plot = LossPlot()
            self._pages.addWidget(self.plot)
        self.plot.draw(self.stretches, self.palette())
        self._pages.setCurrentWidget(self.plot)
