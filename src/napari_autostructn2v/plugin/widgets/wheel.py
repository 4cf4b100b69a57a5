"""Controls that leave the mouse wheel to the scrolling panel around them."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QSizePolicy, QWidget

NARROW = 56  # pixels; all controls fit a panel of 290


class _NoWheel(QObject):
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel:
            event.ignore()
            return True
        return False


def leave_wheel(widget: QWidget) -> None:
    """Leave the wheel to the scroll area, so that scrolling changes no value."""
    widget.installEventFilter(_NoWheel(widget))


def tame(box: QWidget) -> None:
    """Prepare a combo or spin box for a scrolling panel: narrow, and ignoring the wheel."""
    box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    leave_wheel(box)
    box.setMinimumWidth(NARROW)
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
