"""A real napari window and fake runs, so that the rooms are tested without training."""

import time

import numpy as np
import pytest
from qtpy.QtCore import QThreadPool

from napari_autostructn2v.engine.events import (
    Finished,
    MaskFound,
    NoiseMeasured,
    Progress,
    Started,
    TileDone,
)
from napari_autostructn2v.plugin.dock import DenoiseDock

SENTENCE = "Structured along x: neighbours predict 60 % of a pixel's noise."


class FakeEngine:
    """A run without training: each result is the image plus the stage's number, tile by tile.

    `error` is raised in Stage 2, between its tiles; `wait` makes Stage 1 train until it is
    stopped.
    """

    def __init__(self, error=None, wait=False, tile=8, pause=0.0):
        self.error, self.wait, self.tile, self.pause = error, wait, tile, pause
        self.budgets = []

    def __call__(self, image, config, sink):
        self.budgets.append(str(config.budget))
        return lambda stop: self.run(image.source(), sink, stop)

    def run(self, source, sink, stop):
        yield Started((source.name,), "cpu", "float32")
        rho = np.zeros((9, 9))
        rho[4, 2:7] = 0.3, 0.6, 1, 0.6, 0.3
        yield NoiseMeasured(0, 0, rho, 5.0, "along x", 0.6, SENTENCE)
        while self.wait and not stop.is_set():
            time.sleep(0.005)
            yield Progress("stage1", 1, 10, 0.5, 9.0)
        yield from self.denoise(source, sink, "stage1", 1)
        yield MaskFound(np.ones((1, 5), np.uint8), rho, "along x", 0.6)
        yield from self.denoise(source, sink, "stage2", 2)
        yield Finished(None, stopped=stop.is_set())

    def denoise(self, source, sink, stage, number):
        target = sink.open(0, source, stage, source.dtype, stage == "stage2")
        try:
            yield from self.fill(target, source, stage, number)
            target.commit()
        finally:
            target.keep_partial()

    def fill(self, target, source, stage, number):
        height, width = source.size
        tops = range(0, height, self.tile)
        total = source.planes * len(tops)
        for plane in range(source.planes):
            for i, top in enumerate(tops):
                bottom = min(top + self.tile, height)
                block = source.read(plane, slice(top, bottom), slice(0, width)) + number
                if self.error is not None and stage == "stage2" and i == 1:
                    raise self.error
                target.write(plane, ((top, bottom), (0, width)), block)
                time.sleep(self.pause)
                done = plane * len(tops) + i + 1
                yield TileDone(stage, 0, plane, ((top, bottom), (0, width)), done, total)


@pytest.fixture
def fake_engine():
    return FakeEngine


@pytest.fixture
def open_dock(make_napari_viewer, qtbot):
    """Open a viewer with an image layer and a dock on it; wait for its thread at the end."""

    def open_(engine=None, data=None, show=False, **layer):
        viewer = make_napari_viewer(show=show)
        if data is not None:
            viewer.add_image(data, **{"name": "cells", **layer})
        dock = DenoiseDock(viewer, engine or FakeEngine())
        viewer.window.add_dock_widget(dock, name="Denoise")
        return viewer, dock

    yield open_
    assert QThreadPool.globalInstance().waitForDone(5000)


@pytest.fixture
def denoise(qtbot):
    """Press Denoise and wait until the dock is idle again."""

    def press(dock, act=None):
        dock.denoise.click()
        assert dock.is_running
        if act is not None:
            act()
        qtbot.waitUntil(lambda: not dock.is_running, timeout=10_000)

    return press
