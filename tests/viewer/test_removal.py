"""Layers that go, in any way and any number, are deleted in the canvas's own OpenGL context.

napari ends with a segmentation fault otherwise, at the next drawing.
"""

import numpy as np
import pytest
from qtpy.QtGui import QOpenGLContext

PIXELS = np.arange(24 * 16, dtype=np.float32).reshape(24, 16) + 1


def untick(viewer, dock):
    dock.panels.noise.as_layers.click()


def cancel(viewer, dock):
    dock.panels.train.cancel.click()


def abort(viewer, dock):
    dock.session.run.abort()
    dock.canvas.close()


def clear(viewer, dock):
    """By others than the plugin."""
    viewer.layers.clear()


@pytest.mark.parametrize("way", [untick, cancel, abort, clear])
def test_layers_go_in_the_context_they_were_made_in(open_dock, fake_engine, wait_idle, qtbot, way):
    viewer, dock = open_dock(fake_engine(wait=True), PIXELS, show=True)
    own = viewer.window._qt_viewer.canvas.native
    dock.panels.denoise.click()
    wanted = {"cells mask", "cells preview"}
    qtbot.waitUntil(lambda: wanted <= {layer.name for layer in viewer.layers})
    qtbot.waitUntil(own.isValid)
    own.doneCurrent()
    contexts = []
    viewer.layers.events.removed.connect(
        lambda event: contexts.append(QOpenGLContext.currentContext() == own.context())
    )
    before = len(viewer.layers)
    way(viewer, dock)
    gone = before - len(viewer.layers)
    if dock.is_running:
        dock.panels.train.cancel.click()
    wait_idle(dock)
    assert gone > 0
    assert len(contexts) >= gone
    assert all(contexts[:gone])
