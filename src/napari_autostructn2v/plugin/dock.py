"""The one widget: choose an image and a budget, press Denoise. Here the plugin's rooms meet.

Closing or hiding the panel stops a run just as the Stop button does (results of the training so
far still arrive as layers), because a training that nobody sees would go on for nothing; a panel
behind another tab, or in a minimised window, goes on. Closing the window ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtGui import QHideEvent, QKeyEvent
from qtpy.QtWidgets import (
    QComboBox,
    QDockWidget,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_autostructn2v.engine.config import Budget, Config
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import (
    Event,
    Failed,
    Finished,
    MaskFound,
    NoiseMeasured,
    TileDone,
    Warning,  # noqa: A004 - the event's name in the design
)
from napari_autostructn2v.engine.source import Source
from napari_autostructn2v.plugin.progress import ProgressPanel
from napari_autostructn2v.plugin.reading import LayerSnapshot, describe, snapshot
from napari_autostructn2v.plugin.worker import Engine, Run, StopFlag
from napari_autostructn2v.plugin.writing import KIND, LayerSink, warm_up

if TYPE_CHECKING:
    from napari_autostructn2v.engine.model import Model

_BUDGETS = ("20 s", "1 min", "2 min", "10 min", "until it stops improving")
_MIN_WIDTH = 290
_SETTLED_MS = 250  # floating or tabbing a panel hides it for a moment

_busy: set[DenoiseDock] = set()  # keeps a closed panel until its run has ended


def engine(image: LayerSnapshot, config: Config, sink: LayerSink) -> Engine:
    """Make a run of the real engine, imported in the worker thread because it brings torch.

    A training that was stopped still denoises the image with what it has learned, unless Stop is
    pressed again.
    """

    def begin(stop: StopFlag) -> Iterator[Event]:
        from napari_autostructn2v.engine import pipeline

        warm_up()
        source = image.source()
        for event in pipeline.run(source, config, sink=sink, stop=stop):
            if isinstance(event, Finished) and event.stopped and not sink.used:
                yield from _tiles(event.model, source, config, sink, stop)
            yield event

    return begin


def _tiles(
    model: Model, source: Source, config: Config, sink: LayerSink, stop: StopFlag
) -> Iterator[Event]:
    from napari_autostructn2v.engine import pipeline

    if not model.units or stop.again.is_set():
        return
    for event in pipeline.apply(
        model,
        source,
        sink=sink,
        device=config.device,
        tile=config.tile,
        dtype=config.dtype,
        stop=stop.again,
    ):
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, TileDone):
            yield event


class DenoiseDock(QWidget):
    """Parameters: the viewer, and what makes a run of an image (tests put a fake here)."""

    def __init__(
        self,
        napari_viewer: Any,
        make_engine: Callable[[LayerSnapshot, Config, LayerSink], Engine] = engine,
    ) -> None:
        super().__init__()
        # napari hands plugins a proxy that wraps a layer anew at each access; what is compared
        # and kept here is the layer itself.
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._make_engine = make_engine
        self._layers: list[Image] = []
        self._picked = False
        self._run: Run | None = None
        self._sink: LayerSink | None = None
        self._closed_check = QTimer(self)
        self._closed_check.setSingleShot(True)
        self._closed_check.setInterval(_SETTLED_MS)
        self._closed_check.timeout.connect(self._stop_if_closed)
        self._build()
        for signal in ("inserted", "removed", "reordered"):
            getattr(self._viewer.layers.events, signal).connect(self._sync_layers)
        self._sync_layers()

    def _build(self) -> None:
        self.setWindowTitle("Denoise")
        self.setMinimumWidth(_MIN_WIDTH)
        self.image = QComboBox()
        self.image.setToolTip("The image layer to denoise")
        # A long layer name must not widen the panel.
        self.image.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.image.setMinimumContentsLength(12)
        self.image_note = _note("image_note")
        self.budget = QComboBox()
        self.budget.setEditable(True)
        self.budget.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.budget.addItems(_BUDGETS)
        field = Config.model_fields["budget"]
        self.budget.setCurrentIndex([Budget.parse(b) for b in _BUDGETS].index(field.default))
        self.budget.setToolTip(
            f"{field.description}. Choose one, or write a time (90 s, 5 min), "
            "a number of steps (200 steps) or of epochs (20 epochs)"
        )
        self.budget_note = _note("budget_note")
        self.denoise = QPushButton("&Denoise")
        self.denoise.setMinimumHeight(34)
        font = self.denoise.font()
        font.setBold(True)
        self.denoise.setFont(font)
        self.denoise.setToolTip(
            "Measure the noise, train on this image, and add the result as a new layer"
        )
        self.stop = QPushButton("S&top")
        self.stop.setMinimumHeight(34)
        self.stop.setToolTip(
            "End the training and denoise the image with what was learned; "
            "press again to end that too"
        )
        self.progress = ProgressPanel()
        self.verdict = _note("verdict")
        self.message = _note("message")

        form = QGridLayout()
        form.setColumnStretch(1, 1)
        form.addWidget(_buddy("&Image", self.image), 0, 0)
        form.addWidget(self.image, 0, 1)
        form.addWidget(self.image_note, 1, 1)
        form.addWidget(_buddy("&Budget", self.budget), 2, 0)
        form.addWidget(self.budget, 2, 1)
        form.addWidget(self.budget_note, 3, 1)
        buttons = QHBoxLayout()
        buttons.addWidget(self.denoise, 2)
        buttons.addWidget(self.stop, 1)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addLayout(buttons)
        layout.addWidget(self.progress)
        layout.addWidget(self.verdict)
        layout.addWidget(self.message)
        layout.addStretch()

        order = (self.image, self.budget, self.denoise, self.stop)
        for before, after in pairwise(order):
            QWidget.setTabOrder(before, after)
        self.image.currentIndexChanged.connect(self._update)
        self.image.activated.connect(self._pick)
        self.budget.editTextChanged.connect(self.budget_note.hide)
        self.denoise.clicked.connect(self._start)
        self.stop.clicked.connect(self._stop)

    @property
    def layer(self) -> Image | None:
        """The chosen image layer."""
        index = self.image.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    @property
    def is_running(self) -> bool:
        return self._run is not None

    def _pick(self) -> None:
        self._picked = True

    def _sync_layers(self) -> None:
        """List the image layers. The newest is chosen, until the user chooses one."""
        chosen = self.layer
        layers = [layer for layer in self._viewer.layers if _can_be_chosen(layer)]
        for layer in layers:
            if layer not in self._layers:
                for signal in ("name", "data", "axis_labels"):
                    getattr(layer.events, signal).connect(self._sync_layers)
        for layer in self._layers:
            if layer not in layers:
                layer.events.disconnect(self._sync_layers)
        self._layers = layers
        self.image.blockSignals(True)
        self.image.clear()
        self.image.addItems([layer.name for layer in layers])
        if chosen not in layers or not (self._picked or self.is_running):
            self._picked = False
            chosen = _newest(layers)
        self.image.setCurrentIndex(layers.index(chosen) if chosen is not None else -1)
        self.image.blockSignals(False)
        self._update()

    def _update(self) -> None:
        """Bring notes and buttons in line with the facts."""
        readable = False
        if self.layer is None:
            _say(self.image_note, "Open an image: File > Open, or File > Open Sample.")
        else:
            try:
                _say(self.image_note, describe(snapshot(self.layer)))
                readable = True
            except InputError as error:
                _say(self.image_note, _sentence(error))
        run = self._run
        self.image.setEnabled(bool(self._layers) and not self.is_running)
        self.budget.setEnabled(not self.is_running)
        self.denoise.setEnabled(readable and not self.is_running)
        self.stop.setEnabled(run is not None and not run.is_ending)
        self.stop.setText("S&top now" if run is not None and run.is_stopping else "S&top")

    def _start(self) -> None:
        if self.layer is None or self.is_running:
            return
        try:
            budget = Budget.parse(self.budget.currentText())
        except ValueError as error:
            _say(self.budget_note, _sentence(error))
            return
        for note in (self.budget_note, self.verdict, self.message):
            _say(note, "")
        image = snapshot(self.layer)
        title = f"Denoise {image.name}"
        self._sink = LayerSink(self._viewer, image)
        self._run = Run(self._make_engine(image, Config(budget=budget), self._sink), title)
        self._run.event.connect(self._on_event)
        self._run.finished.connect(self._on_finished)
        _busy.add(self)
        self._run.finished.connect(partial(_busy.discard, self))
        self.destroyed.connect(self._run.abort)
        self._run.finished.connect(self._sink.close)
        self.progress.begin(self._run.finished)
        self._run.start()
        self._update()
        self.stop.setFocus()

    def _stop(self) -> None:
        if self._run is not None:
            self._run.stop()
            self.progress.stopping()
            self._update()

    def _on_event(self, event: Event) -> None:
        self.progress.show_event(event)
        if self._sink is None:
            return
        match event:
            case NoiseMeasured():
                self._sink.show_noise(event)
                if event.channel == 0:
                    _say(self.verdict, event.sentence)
            case MaskFound():
                self._sink.show_mask(event)
            case Warning():
                _say(self.message, f"Note: {event.message}")
            case Failed():
                _say(self.message, f"Error: {event.message}")

    def _on_finished(self) -> None:
        focused = self.focusWidget() is self.stop
        self._sink = self._run = None
        self._update()
        if focused:  # a disabled button would have handed it on to another panel
            self.denoise.setFocus()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ParentChange:
            self._closed_check.start()
        return bool(super().event(event))

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._closed_check.start()

    def _stop_if_closed(self) -> None:
        """`isHidden` is true of what was closed by itself, not of what only cannot be seen."""
        panel: QWidget | None = self
        while panel is not None and not isinstance(panel, QDockWidget):
            panel = panel.parentWidget()
        if (panel or self).isHidden() and self._run is not None and not self._run.is_stopping:
            self._stop()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            (self.stop if self.focusWidget() is self.stop else self.denoise).click()
        else:
            super().keyPressEvent(event)


def _can_be_chosen(layer: Any) -> bool:
    return isinstance(layer, Image) and layer.metadata.get(KIND) != "autocorrelation"


def _newest(layers: list[Image]) -> Image | None:
    """Find the image that was opened last: no result of ours, and one that can be seen."""
    opened = [layer for layer in layers if KIND not in layer.metadata]
    seen = [layer for layer in opened if layer.visible]
    return next((found[-1] for found in (seen, opened, layers) if found), None)


def _note(name: str) -> QLabel:
    """Make a line of text that wraps, can be copied, and takes no room while it is empty."""
    label = QLabel()
    label.setObjectName(name)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    label.hide()
    return label


def _say(label: QLabel, text: str) -> None:
    label.setText(text)
    label.setVisible(bool(text))


def _sentence(error: Exception) -> str:
    text = str(error).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _buddy(text: str, field: QWidget) -> QLabel:
    label = QLabel(text)
    label.setBuddy(field)
    return label
