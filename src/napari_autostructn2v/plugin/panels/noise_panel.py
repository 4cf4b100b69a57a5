"""1 Noise: the verdict, and the mask derived from it, which can be edited."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_autostructn2v.plugin.widgets.fold import Fold
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel


class NoisePanel(QWidget):
    """Shows the measured noise; `editor` edits the mask."""

    analyse_wanted = Signal()
    layers_wanted = Signal(bool)

    def __init__(self, editor: QWidget) -> None:
        super().__init__()
        self.verdict = MessageLabel("verdict")
        self.remarks = MessageLabel("remarks")
        self.remarks.setToolTip("Other measurements of the noise")
        self.analyse = QPushButton("&Analyse")
        self.analyse.setToolTip(
            "Measure the noise and derive the mask; takes about a second, without training"
        )
        self.as_layers = QCheckBox("Show as layers")
        self.as_layers.setToolTip(
            "Show the noise correlation and the mask as layers beside the image; the mask "
            "can be edited with napari's paint brush"
        )
        self.editor = Fold(
            "Mask", editor, "View and edit the mask that hides correlated neighbours",
            expanded=False, part=True,
        )  # fmt: skip
        buttons = QHBoxLayout()
        buttons.addWidget(self.analyse, 1)
        buttons.addWidget(self.as_layers, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.verdict)
        layout.addWidget(self.remarks)
        layout.addLayout(buttons)
        layout.addWidget(self.editor)
        self.analyse.clicked.connect(self.analyse_wanted)
        self.as_layers.toggled.connect(self.layers_wanted)

    def show_noise(self, verdict: str, remarks: str) -> None:
        self.verdict.say(verdict)
        self.remarks.say(remarks)
