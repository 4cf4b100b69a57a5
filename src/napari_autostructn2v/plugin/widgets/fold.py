"""A section of the dock that opens and closes."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QScrollArea, QSizePolicy, QToolButton, QVBoxLayout, QWidget


class Fold(QWidget):
    """Shows or hides `body` below a button; a `part` of a larger fold has a lighter title."""

    def __init__(
        self, title: str, body: QWidget, tip: str, *, expanded: bool = True, part: bool = False
    ) -> None:
        super().__init__()
        self.header = QToolButton()
        self.header.setText(title)
        self.header.setToolTip(tip)
        self.header.setCheckable(True)
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        font = self.header.font()
        font.setBold(not part)
        self.header.setFont(font)
        self.body = body
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.header)
        layout.addWidget(body)
        self._laid_out = QTimer(self)  # the body has its height a moment after it is shown
        self._laid_out.setSingleShot(True)
        self._laid_out.timeout.connect(self.scroll_here)
        self.header.toggled.connect(self._on_toggled)
        self.header.clicked.connect(self._on_clicked)
        self.header.setChecked(expanded)
        self._on_toggled(expanded)

    @property
    def is_expanded(self) -> bool:
        return bool(self.header.isChecked())

    def expand(self, on: bool = True) -> None:
        self.header.setChecked(on)

    def _on_toggled(self, on: bool) -> None:
        self.header.setArrowType(Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow)
        self.body.setVisible(on)

    def _on_clicked(self, on: bool) -> None:
        if on:
            self._laid_out.start()

    def scroll_here(self) -> None:
        """Scroll to show the body as well, as far as it fits below the title."""
        area: QWidget | None = self
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parentWidget()
        if area is not None:
            area.ensureWidgetVisible(self)
            area.ensureWidgetVisible(self.header)
