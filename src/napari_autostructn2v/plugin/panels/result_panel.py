"""3 Result: apply the model, see how good the result is, and compare it with the noisy image."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_autostructn2v.plugin.panels.card import QualityCard
from napari_autostructn2v.plugin.viewer.compare import KEY
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel


class ResultPanel(QWidget):
    """Buttons and the quality card; what the buttons do is wired elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.preview = QPushButton("Preview re&gion")
        self.preview.setToolTip(
            "Denoise only the region that is trained on, in the plane in view; of a whole layer "
            "the part in view"
        )
        self.apply = QPushButton("Denoise layer")
        self.apply.setToolTip("Apply the model to the chosen image as it is, without training")
        self.hold = QPushButton(f"Hold ({KEY})")
        self.hold.setToolTip(
            f"Show the noisy image while this is held down, or the key {KEY} in the viewer"
        )
        self.curtain = QPushButton("Curtain")
        self.curtain.setCheckable(True)
        self.curtain.setToolTip(
            "Show the noisy image left of a line and the result right of it; the line can be "
            "dragged in the viewer"
        )
        self.residual = QPushButton("Residual")
        self.residual.setToolTip(
            "Add a layer with what was taken away; structures in it are signal that was lost"
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
