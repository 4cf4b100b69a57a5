"""3 Result: apply the model, show the quality of the result, compare it with the noisy image."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_autostructn2v.plugin.panels.card import QualityCard
from napari_autostructn2v.plugin.viewer.compare import KEY
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel


class ResultPanel(QWidget):
    """Buttons and the quality card; the buttons are connected elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.preview = QPushButton("Preview re&gion")
        self.preview.setToolTip(
            "Denoise only the training region in the current plane; for a whole layer, the "
            "current view"
        )
        self.apply = QPushButton("Denoise layer")
        self.apply.setToolTip("Denoise the chosen image with the model, without further training")
        self.hold = QPushButton(f"Hold ({KEY})")
        self.hold.setToolTip(
            f"Show the noisy image while this button, or the key {KEY} in the viewer, is held down"
        )
        self.curtain = QPushButton("Curtain")
        self.curtain.setCheckable(True)
        self.curtain.setToolTip(
            "Show the noisy image to the left of a line and the result to the right; drag the "
            "line in the viewer"
        )
        self.residual = QPushButton("Residual")
        self.residual.setToolTip(
            "Add a layer with the difference, noisy minus result; structure in it is lost signal"
        )
        self.note = MessageLabel("result_note")
        self.card = QualityCard()
        apply = QHBoxLayout()
        apply.addWidget(self.preview, 1)
        apply.addWidget(self.apply, 1)
        compare = QGridLayout()
        compare.setVerticalSpacing(2)
        compare.addWidget(QLabel("Compare with the noisy image"), 0, 0, 1, 3)
        for column, button in enumerate((self.hold, self.curtain, self.residual)):
            compare.addWidget(button, 1, column)
            compare.setColumnStretch(column, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.card)
        layout.addLayout(compare)
        layout.addLayout(apply)
        layout.addWidget(self.note)

    def update_buttons(self, *, can_apply: bool, can_compare: bool, curtain: bool) -> None:
        for button in (self.preview, self.apply):
            button.setEnabled(can_apply)
        for button in (self.hold, self.curtain, self.residual):
            button.setEnabled(can_compare)
        self.curtain.setChecked(curtain)
