"""A line of text under a control that takes no room while there is nothing to say."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy


class Note(QLabel):
    """Wraps, can be copied, and never widens its panel."""

    def __init__(self, name: str = "note") -> None:
        super().__init__()
        self.setObjectName(name)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.hide()

    def say(self, text: str) -> None:
        self.setText(text)
        self.setVisible(bool(text))


def sentence(text: object) -> str:
    """Write an error's message as a sentence."""
    words = str(text).rstrip(".")
    return f"{words[:1].upper()}{words[1:]}."
