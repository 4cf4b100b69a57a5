"""Docks on napari's viewer, and fake runs, so that the plugin is tested without training."""

import gc
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QThreadPool

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.events import (
    Finished,
    MaskFound,
    NoiseMeasured,
    Place,
    Preview,
    Progress,
    StageDone,
    Started,
    TileDone,
)
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.engine.mask.verdict import Verdict
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.noise.noise_variance import Variance
from napari_autostructn2v.plugin.dock import DenoiseDock
from napari_autostructn2v.plugin.runs import settings
from napari_autostructn2v.plugin.runs.jobs import (
    Analyse,
    Analysed,
    Apply,
    Load,
    Loaded,
    Save,
    Saved,
)
from napari_autostructn2v.plugin.widgets.debounced import POOL

SENTENCE = "Structured along x: neighbours predict 60 % of a pixel's noise."
LINE = np.ones((1, 5), np.uint8)


def finding(name="cells"):
    rho = np.zeros((9, 9))
    rho[4, 2:7] = 0.3, 0.6, 1, 0.6, 0.3
    noise = Noise(rho, np.full((9, 9), 0.01), 5.0, 0.0, 0.0, 99 * rho, 50, Variance(25.0, 0.0))
    return NoiseAnalysis(0, 0, name, noise, Verdict("along x", SENTENCE, 0.6, 0.61), LINE)


def model(stages=("stage1", "stage2"), mask=LINE, config=None, best=None):
    unit = SimpleNamespace(mask=mask, networks=dict.fromkeys(stages))
    stages = tuple(stages)
    return SimpleNamespace(
        stages=stages, units=(unit,), config=config or Config(), best=best or stages[-1]
    )


class FakeEngine:
    """Runs without training: each result is the image plus the stage's number, tile by tile.

    `error` is raised in Stage 2, between its tiles; `wait` makes the training go on until it is
    stopped; `quality` is reported. `jobs` are those that were asked for. After the first tile of
    the stage `hold` it waits until it is released.
    """

    def __init__(self, error=None, wait=False, tile=8, pause=0.0, quality=None):
        self.error, self.wait, self.tile, self.pause = error, wait, tile, pause
        self.quality = quality or {}
        self.jobs = []
        self.hold, self.release = None, threading.Event()

    def __call__(self, job):
        self.jobs.append(job)
        match job:
            case Analyse():
                return lambda stop: self.analyse(job)
            case Apply():
                return lambda stop: self.apply(job, stop)
            case Save():
                return lambda stop: self.save(job)
            case Load():
                return lambda stop: iter([Loaded(job.path, model())])
        return lambda stop: self.train(job, stop)

    def analyse(self, job):
        if self.error is not None:
            raise self.error
        found = finding(job.parts[0].name)
        yield Analysed(job.parts, job.config, (found,), found)

    def save(self, job):
        if self.error is not None:
            raise self.error
        job.path.write_bytes(b"model")
        yield Saved(job.path)

    def apply(self, job, stop):
        yield Started(tuple(image.name for image in job.images), "cpu", "float32")
        for number, image in enumerate(job.images):
            for stage in job.model.stages:
                yield from self.denoise(number, image.source(), job.sink, stage, job.model.best)
        yield Finished(job.model, stopped=stop.is_set())

    def train(self, job, stop):
        given = job.config.structure.mask
        mask = LINE if given is None else np.array(given, np.uint8)
        found = finding(job.parts[0].name)
        yield Started(tuple(part.name for part in job.parts), "cpu", "float32")
        yield NoiseMeasured(0, 0, found.noise.rho, 5.0, "along x", 0.6, SENTENCE)
        yield Analysed(job.parts, job.config, (found,), found)
        place = Place(0, 0, ((0, 4), (0, 4)))
        stages = ["stage1"] * job.config.run_stage1 + ["stage2"]
        for stage in stages:
            if stage == "stage2":
                yield MaskFound(mask, found.noise.rho, "along x", 0.6)
            stopped = None
            # Slower than the window is told: a backlog of events would keep it from the rest.
            while self.wait and not stop.is_set():
                time.sleep(0.03)
                yield Progress(stage, 1, 10, 0.5, 9.0)
                if job.preview() is not None:
                    yield Preview(stage, 1, np.zeros((4, 4), np.float32), place)
                stopped = "stopped"
            if stopped:
                job.sink.cut_short(stage)
            yield StageDone(stage, 1, 0.1, 0.5, stopped)
            if stopped:
                break
        trained = stages[: stages.index(stage) + 1]
        known = ["stage1"] * (job.start is not None) + trained
        best = self.quality.get("recommended")
        learned = model(dict.fromkeys(known), mask, job.config, best)
        for number, image in enumerate(job.images):
            for each in learned.stages:
                yield from self.denoise(number, image.source(), job.sink, each, learned.best)
        yield Finished(learned, stop.is_set(), {"quality": self.quality})

    def denoise(self, image, source, sink, stage, best):
        target = sink.open(image, source, stage, source.dtype, stage == best)
        if target is None:
            return
        try:
            yield from self.fill(image, target, source, stage, int(stage[-1]))
            target.commit()
        finally:
            target.keep_partial()

    def fill(self, image, target, source, stage, number):
        height, width = source.size
        tops = range(0, height, self.tile)
        total = source.planes * len(tops)
        for plane in range(source.planes):
            for i, top in enumerate(tops):
                bottom = min(top + self.tile, height)
                if stage == self.hold and i == 1:
                    assert self.release.wait(60)
                block = source.read(plane, slice(top, bottom), slice(0, width)) + number
                if self.error is not None and stage == "stage2" and i == 1:
                    raise self.error
                target.write(plane, ((top, bottom), (0, width)), block)
                time.sleep(self.pause)
                done = plane * len(tops) + i + 1
                yield TileDone(stage, image, plane, ((top, bottom), (0, width)), done, total)


@pytest.fixture(scope="session", autouse=True)
def _imports_are_not_searched():
    """Keep the collector, which the tests call often, from going through all that is imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_window_is_left(no_window_is_left):
    pass


@pytest.fixture(autouse=True)
def remembered(tmp_path, monkeypatch):
    """What is remembered goes to a file of the test's own."""
    path = tmp_path / "settings.json"
    monkeypatch.setattr(settings, "settings_file", lambda: path)
    return path


@pytest.fixture
def fake_engine():
    return FakeEngine


@pytest.fixture
def open_viewer(request):
    """Give napari's viewer without its window, unless the test is about the window or its canvas.

    A window takes seconds to open, fill and close.
    """
    models = []

    def open_(window=False, show=False):
        if window or show:
            return request.getfixturevalue("make_napari_viewer")(show=show)
        models.append(ViewerModel())
        return models[-1]

    yield open_
    for viewer in models:
        viewer.layers.clear()


@pytest.fixture
def open_dock(open_viewer, qtbot):
    """Open a viewer with an image layer and a dock on it; wait for its thread at the end."""

    def open_(engine=None, data=None, window=False, show=False, **layer):
        viewer = open_viewer(window, show)
        if data is not None:
            viewer.add_image(data, **{"name": "cells", **layer})
        dock = DenoiseDock(viewer, engine or FakeEngine())
        if window or show:
            viewer.window.add_dock_widget(dock, name="Denoise")
        else:
            qtbot.addWidget(dock)
        return viewer, dock

    yield open_
    assert QThreadPool.globalInstance().waitForDone(5000)
    assert POOL.waitForDone(5000)


@pytest.fixture
def wait_idle(qtbot):
    def wait(dock):
        qtbot.waitUntil(lambda: not dock.is_running, timeout=120_000)
        qtbot.wait(50)  # the mask's layer comes a moment later

    return wait


@pytest.fixture
def denoise(wait_idle):
    """Press Denoise and wait until the dock is idle again."""

    def press(dock, act=None):
        dock.panels.denoise.click()
        assert dock.is_running
        if act is not None:
            act()
        wait_idle(dock)

    return press
