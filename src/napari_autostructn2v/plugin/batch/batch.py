"""Applies a model to a folder of images, and shows the status of each file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QProgressBar,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_autostructn2v.engine.batch import BatchItem, FileDone, denoise_files
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.events import Event, Failed, Finished, TileDone
from napari_autostructn2v.plugin.batch.file_chooser import FileChooser
from napari_autostructn2v.plugin.batch.file_table import FileTable
from napari_autostructn2v.plugin.runs.worker import Engine, Run, StopFlag
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel

if TYPE_CHECKING:
    from napari_autostructn2v.engine.model.model import TrainedModel

Denoise = Callable[..., Iterator[Event | FileDone]]

_STEPS = 1000
_ROW = 24  # pixels


class BatchPanel(QWidget):
    """Denoises files with the model that `set_model` gives. For the GUI thread.

    `running_changed` is emitted when a run begins or ends.

    Parameters
    ----------
    denoise
        The function that denoises files, `engine.batch.denoise_files` except in tests.
    """

    running_changed = Signal(bool)

    def __init__(self, denoise: Denoise = denoise_files) -> None:
        super().__init__()
        self._denoise = denoise
        self._model: TrainedModel | Path | None = None
        self._config = Config()
        self._run: Run | None = None
        self.files = FileTable()
        self._build()
        self.set_model(None)

    @property
    def is_running(self) -> bool:
        return self._run is not None

    def set_model(
        self, model: TrainedModel | Path | None, name: str = "", config: Config | None = None
    ) -> None:
        """Set the model to apply; device, tile size and result type are from the config."""
        self._model = model
        self._config = config or Config()
        if model is None:
            self.model_note.say("Train or load a model first.")
        else:
            self.model_note.say(f"Model: {name}")
        self._update()

    def stop(self) -> None:
        """Stop after the current tile; finished results are kept."""
        if self._run is not None:
            self._run.stop()
            self._update()

    def _build(self) -> None:
        self.model_note = MessageLabel("model")
        self.chooser = FileChooser()
        self.overwrite = QCheckBox("Replace existing results")
        self.overwrite.setToolTip("If not checked, files that already have a result are skipped")
        self.table = QTableView()
        self.table.setModel(self.files)
        self.table.setToolTip("Status of each file")
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setTabKeyNavigation(False)
        self.table.setWordWrap(False)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(_ROW)
        header = self.table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.detail = MessageLabel("detail")
        self.start_button = QPushButton("Denoise files")
        self.start_button.setToolTip("Denoise all files of the table with the model")
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip("Stop after the current tile; finished results are kept")
        self.bar = QProgressBar()
        self.bar.setRange(0, _STEPS)
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(10)
        self.bar.setToolTip("Progress over all files")
        self.summary = MessageLabel("summary")

        buttons = QHBoxLayout()
        buttons.addWidget(self.start_button, 2)
        buttons.addWidget(self.stop_button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.model_note, self.chooser, self.overwrite):
            layout.addWidget(widget)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.detail)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.summary)

        self.chooser.found.connect(self._on_found)
        self.table.selectionModel().currentRowChanged.connect(self._show_detail)
        self.start_button.clicked.connect(self._start)
        self.stop_button.clicked.connect(self.stop)

    def _update(self) -> None:
        """Enable and disable the controls."""
        run = self._run
        self.chooser.setEnabled(run is None)
        self.overwrite.setEnabled(run is None)
        ready = self._model is not None and bool(self.files.items)
        self.start_button.setEnabled(ready and run is None)
        self.stop_button.setEnabled(run is not None and not run.is_stopping)

    def _on_found(self, items: list[BatchItem]) -> None:
        self._show_items(items)
        self._update()

    def _show_items(self, items: Sequence[BatchItem]) -> None:
        """Show waiting files, and remove messages about others."""
        self.files.set_items(items)
        self.bar.setValue(0)
        self.summary.say("")
        self.detail.say("")

    def _show_detail(self, current: QModelIndex) -> None:
        self.detail.say(self.files.message(current.row()) if current.isValid() else "")

    def _start(self) -> None:
        if self._run is not None:
            return
        self._show_items(self.files.items)
        self.summary.say("Starting")
        self._run = Run(self._engine(), "Denoise files")
        self._run.event.connect(self._on_event)
        self._run.finished.connect(self._on_finished)
        self.destroyed.connect(self._run.abort)
        self._run.start()
        self._update()
        self.stop_button.setFocus()
        self.running_changed.emit(True)

    def _engine(self) -> Engine:
        denoise, model, items, config = self._denoise, self._model, self.files.items, self._config
        overwrite = self.overwrite.isChecked()

        def begin(stop: StopFlag) -> Iterator[Event | FileDone]:
            options = {
                "device": config.device, "tile": config.tile, "dtype": config.dtype,
                "stage": config.result,
            }  # fmt: skip
            return denoise(model, items, overwrite=overwrite, stop=stop, **options)

        return begin

    def _on_event(self, event: Event | FileDone) -> None:
        match event:
            case TileDone() | FileDone():
                self._show_file(event)
            case Finished(stopped=True):
                self.summary.say(f"Stopped. {self.files.summary()}")
            case Failed():
                self.summary.say(f"Error: {event.message}")

    def _show_file(self, event: TileDone | FileDone) -> None:
        self.files.show_event(event)
        self.bar.setValue(round(_STEPS * self.files.share))
        self.summary.say(self.files.summary())
        self.table.scrollTo(self.files.index(event.image, 0))
        current = self.table.currentIndex()
        if current.row() == event.image:
            self._show_detail(current)

    def _on_finished(self) -> None:
        focused = self.focusWidget() is self.stop_button
        self._run = None
        self._update()
        if focused:  # a disabled button would have handed it on to another panel
            self.start_button.setFocus()
        self.running_changed.emit(False)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Keep Return from starting a run in a parent widget."""
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)
