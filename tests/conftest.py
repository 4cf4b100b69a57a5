"""What all tests share: one thread each, and windows that are closed at the end."""

import gc
import os
from contextlib import contextmanager

import pytest

# Set before torch and numpy are loaded: several workers share the processor.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def closes_its_windows(qapp):
    """Give a context that fails if windows which were opened in it are there after it."""
    from pytestqt.qt_compat import qt_api

    def windows():
        # Those that are seen: pyqtgraph keeps the menus of plots that are gone.
        return {widget for widget in qapp.topLevelWidgets() if widget.isVisible()}

    def delete():
        due = qt_api.QtCore.QEvent.Type.DeferredDelete
        qt_api.QtCore.QCoreApplication.sendPostedEvents(None, due)

    @contextmanager
    def watched():
        before = windows()
        yield
        if windows() - before:  # what is due to be deleted, or only waits for the collector
            delete()
            gc.collect()
            delete()
        left = windows() - before
        assert not left, f"left open: {sorted(map(repr, left))}"

    return watched


@pytest.fixture
def no_window_is_left(closes_its_windows):
    with closes_its_windows():
        yield
