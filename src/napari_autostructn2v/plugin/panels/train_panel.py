"""2 Train: progress, loss curves, and the buttons to stop, cancel or continue."""

from __future__ import annotations

from qtpy.QtCore import Signal, SignalInstance
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_autostructn2v.plugin.panels.progress import ProgressPanel
from napari_autostructn2v.plugin.widgets.curves import LossCurves
from napari_autostructn2v.plugin.widgets.fold import Fold
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel


class TrainPanel(QWidget):
    """Emits a signal for each button; `update_buttons` enables those that can be used."""

    preview_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.stop = QPushButton("S&top")
        self.stop.setToolTip(
            "Stop the training and denoise the image with the model so far; "
            "press again to stop that as well"
        )
        self.go_on = QPushButton("Contin&ue")
        self.go_on.setToolTip("Continue training the model on the chosen image, for another budget")
        self.cancel = QPushButton("Ca&ncel")
        self.cancel.setToolTip("Stop the run and remove everything it has added")
        self.progress = ProgressPanel()
        self.message = MessageLabel("message")
        self.curves = LossCurves()
        self.live = QCheckBox("Live preview")
        self.live.setToolTip("During training, show the region in view denoised every few seconds")
        self.split = QCheckBox("split")
        self.split.setToolTip("Show the noisy image above the diagonal of the preview")
        self.watch = Fold("Loss curves", self.curves, "Training and validation loss", part=True)
        self.watch.hide()
        previews = QHBoxLayout()
        previews.addWidget(self.live)
        previews.addWidget(self.split)
        previews.addStretch()
        buttons = QHBoxLayout()
        for button in (self.stop, self.go_on, self.cancel):
            buttons.addWidget(button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.progress)
        layout.addWidget(self.message)
        layout.addLayout(buttons)
        layout.addLayout(previews)
        layout.addWidget(self.watch)
        self.live.toggled.connect(self.split.setEnabled)
        self.live.toggled.connect(lambda: self.preview_changed.emit())
        self.split.toggled.connect(lambda: self.preview_changed.emit())
        self.split.setEnabled(False)

    def begin(self, finished: SignalInstance, title: str, *, trains: bool) -> None:
        """Follow a run until its signal `finished`."""
        self.progress.begin(finished, title, trains)
        if trains:
            self.curves.clear()
            self.watch.show()

    def reset(self) -> None:
        """Show that there is no run."""
        self.progress.reset()
        self.curves.clear()
        self.watch.hide()

    def update_buttons(
        self, *, running: bool, stopping: bool, ending: bool, can_go_on: bool
    ) -> None:
        self.stop.setEnabled(running and not ending)
        self.stop.setText("S&top now" if stopping and not ending else "S&top")
        self.cancel.setEnabled(running)
        self.go_on.setEnabled(can_go_on and not running)
