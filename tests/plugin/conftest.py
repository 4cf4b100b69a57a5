"""Fake runs: what the worker must cope with, without an engine."""

import pytest
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QWidget

from napari_autostructn2v.plugin.widgets.debounced import POOL


@pytest.fixture(autouse=True)
def _nothing_is_left(no_window_is_left):
    """Neither a window nor a thread."""
    yield
    assert QThreadPool.globalInstance().waitForDone(5000)
    assert POOL.waitForDone(5000)


@pytest.fixture
def listener(qtbot):
    """A parent that notes, in `pressed`, the keys that its children leave to it."""

    class Listener(QWidget):
        def __init__(self):
            super().__init__()
            self.pressed = []

        def keyPressEvent(self, event):
            self.pressed.append(event.key())

    parent = Listener()
    qtbot.addWidget(parent)
    return parent
