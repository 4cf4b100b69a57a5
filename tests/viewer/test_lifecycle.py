"""However a run, a dock or a window ends, and whatever is pressed meanwhile: nothing is left."""

import gc
import logging
import os
import random
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QCoreApplication, QEvent, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_autostructn2v.plugin.dock import DenoiseDock
from napari_autostructn2v.plugin.runs import lifetime, worker

PIXELS = np.arange(24 * 16, dtype=np.float32).reshape(24, 16) + 1


@pytest.fixture(autouse=True)
def _errors_are_not_kept(caplog):
    """The test's own log keeps each error, with the run it came from."""
    caplog.set_level(logging.CRITICAL, logger=worker.__name__)


class Array(np.ndarray):
    """One that can be watched."""


def ours(events):
    """What listens to a group of napari's events, of those that are of this plugin."""
    heard = [callback for emitter in events.emitters.values() for callback in emitter.callbacks]
    owners = [callback[0]() for callback in heard if isinstance(callback, tuple)]
    return [owner for owner in owners if type(owner).__module__.startswith("napari_autostructn2v")]


def ties(viewer):
    """What of the plugin the viewer would still call."""
    groups = [viewer.layers.events, viewer.layers.selection.events, viewer.dims.events]
    groups += [layer.events for layer in viewer.layers]
    return [owner for events in groups for owner in ours(events)]


def grips(viewer):
    """How much holds on to the viewer by other ways."""
    app = QApplication.instance()
    callbacks = viewer.mouse_drag_callbacks, viewer.mouse_move_callbacks
    return len(viewer.keymap), *map(len, callbacks), app.receivers(app.focusChanged)


def running_timers():
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) is QTimer and is_active(thing)]


def is_active(timer):
    try:
        return timer.isActive()
    except RuntimeError:  # Qt has deleted it
        return False


@pytest.fixture
def open_watched(make_napari_viewer, fake_engine):
    def open_(way):
        viewer = make_napari_viewer()
        pixels = PIXELS.view(Array)
        layer = viewer.add_image(pixels, name="cells")
        held = grips(viewer)
        goes_on = way not in ("compared", "failed")
        error = ValueError("x") if way == "failed" else None
        dock = DenoiseDock(viewer, fake_engine(wait=goes_on, error=error))
        viewer.window.add_dock_widget(dock, name="Denoise")
        return viewer, dock, held, [weakref.ref(thing) for thing in (dock, layer, pixels)]

    return open_


def end(way, viewer, dock, wait_idle):
    result = dock.panels.result
    match way:
        case "stopped":
            dock.panels.train.stop.click()
        case "cancelled":
            dock.panels.train.cancel.click()
        case "aborted":
            assert dock.session.run.abort()
        case "window closed":
            viewer.close()
    if way not in ("destroyed", "window closed"):
        wait_idle(dock)
    if way == "compared":
        result.curtain.click()
        result.residual.click()
        result.hold.pressed.emit()
    if way != "window closed":
        viewer.window.remove_dock_widget(dock)
        dock.deleteLater()


@pytest.mark.parametrize(
    "way",
    ["compared", "stopped", "cancelled", "failed", "aborted", "destroyed", "window closed"],
)
def test_nothing_is_left(open_watched, wait_idle, qtbot, way):
    viewer, dock, held, watched = open_watched(way)
    dock.panels.denoise.click()
    qtbot.waitUntil(lambda: "cells mask" in viewer.layers)
    if way not in ("compared", "failed"):
        qtbot.waitUntil(lambda: "cells preview" in viewer.layers)
    with qtbot.waitSignal(dock.destroyed):
        end(way, viewer, dock, wait_idle)
    del dock
    qtbot.waitUntil(lambda: not (worker._started or lifetime._busy))
    qtbot.wait(50)  # PyQt lets go of what was connected a moment later
    gc.collect()
    if way != "window closed":
        assert ties(viewer) == []
        assert grips(viewer) == held
        assert "cells preview" not in viewer.layers
    if way in ("cancelled", "aborted", "destroyed"):
        assert [layer.name for layer in viewer.layers] == ["cells"]
    viewer.layers.clear()
    qtbot.wait(50)
    gc.collect()
    assert [thing() for thing in watched] == [None, None, None]
    assert running_timers() == []


def test_an_image_that_is_removed_is_let_go_by_an_open_dock(open_watched, denoise, qtbot):
    viewer, dock, _, watched = open_watched("compared")
    denoise(dock)
    denoise(dock)
    viewer.layers.clear()
    qtbot.wait(100)
    dock.session._make_engine.jobs.clear()
    gc.collect()
    assert [thing() for thing in watched[1:]] == [None, None]


def click_thrice(button):
    """As the system does it: the clicks wait in the queue while the first is answered."""
    where, left = QPointF(5, 5), Qt.MouseButton.LeftButton
    kinds = ((QEvent.Type.MouseButtonPress, left), (QEvent.Type.MouseButtonRelease, left ^ left))
    for kind, down in kinds * 3:
        event = QMouseEvent(
            kind, where, button.mapToGlobal(where), left, down, Qt.KeyboardModifier.NoModifier
        )
        QCoreApplication.postEvent(button, event)


@pytest.mark.parametrize("name", ["denoise", "apply"])
def test_a_click_that_is_answered_while_a_run_begins_starts_no_second_one(
    open_dock, denoise, wait_idle, fake_engine, monkeypatch, name
):
    """As happens when the activity list is told of a run: napari handles events then."""
    engine = fake_engine()
    _viewer, dock = open_dock(engine, PIXELS)
    denoise(dock)
    engine.jobs.clear()
    train = dock.panels.train
    button = dock.panels.denoise if name == "denoise" else dock.panels.result.apply
    begin = train.begin

    def begin_clicked(*args, **options):
        button.click()
        begin(*args, **options)

    monkeypatch.setattr(train, "begin", begin_clicked)
    button.click()
    wait_idle(dock)
    assert len(engine.jobs) == 1


def test_a_tile_that_comes_after_the_dock_is_gone_adds_nothing(open_dock, fake_engine, qtbot):
    engine = fake_engine(tile=1)
    engine.hold = "stage1"
    viewer, dock = open_dock(engine, PIXELS, window=True)
    dock.panels.denoise.click()
    qtbot.waitUntil(lambda: "cells Stage 1" in viewer.layers)
    viewer.window.remove_dock_widget(dock)
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()
    engine.release.set()
    qtbot.waitUntil(lambda: not worker._started)
    assert [layer.name for layer in viewer.layers] == ["cells"]


@pytest.fixture
def reopen(qtbot):
    """Close a viewer's dock as its x does, and open another after a while."""

    def close_and_open(viewer, dock, engine, after=0):
        dock.parentWidget().title.close_button.click()
        qtbot.wait(after)
        again = DenoiseDock(viewer, engine)
        viewer.window.add_dock_widget(again, name="Denoise again")
        return again

    return close_and_open


def can_use_a_model(dock):
    train, result, model = dock.panels.train, dock.panels.result, dock.panels.model
    buttons = train.go_on, model.save, result.apply
    enabled = {button.isEnabled() for button in buttons}
    assert len(enabled) == 1
    return enabled.pop()


@pytest.mark.parametrize("after", [0, 400], ids=["at once", "once it was told to stop"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_dock_opened_in_mid_run_takes_up_the_model_of_the_closed_one(
    open_dock, fake_engine, reopen, qtbot, after, times
):
    viewer, dock = open_dock(
        fake_engine(wait=True, tile=4, pause=0.15 * times), PIXELS, window=True
    )
    dock.panels.denoise.click()
    qtbot.waitUntil(lambda: "Training" in dock.panels.train.progress.text.text())
    for _ in range(times):
        dock = reopen(viewer, dock, fake_engine(), after)
    message = dock.panels.train.message
    assert "is ending" in message.text()
    assert not can_use_a_model(dock)
    qtbot.waitUntil(lambda: not worker._started)
    qtbot.waitUntil(lambda: can_use_a_model(dock))
    assert message.text() == ""
    assert "cells (not saved)" in dock.panels.model.name.text()
    assert not lifetime._busy


def test_a_model_of_the_opened_dock_s_own_is_kept(open_dock, fake_engine, reopen, denoise, qtbot):
    engine = fake_engine(wait=True, tile=4)
    engine.hold = "stage1"
    viewer, dock = open_dock(engine, PIXELS, window=True)
    dock.panels.denoise.click()
    qtbot.waitUntil(lambda: "Training" in dock.panels.train.progress.text.text())
    again = reopen(viewer, dock, fake_engine())
    again.panels.inputs.image.setCurrentText("cells")
    denoise(again)
    own = again.session.trained.model
    assert again.lifetime.is_awaiting
    engine.release.set()
    qtbot.waitUntil(lambda: not worker._started)
    assert again.session.trained.model is own


def test_leaving_the_interpreter_mid_run(tmp_path):
    """Without an event loop that ends first, and with a worker that is slow to let go."""
    script = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import napari, numpy as np
        from conftest import FakeEngine
        from qtpy.QtWidgets import QApplication
        from napari_autostructn2v.plugin.dock import DenoiseDock
        from napari_autostructn2v.plugin.runs.worker import Run

        def slow(self, message, send=Run._send):
            send(self, message)
            time.sleep(0.3 if message is None else 0)

        Run._send = slow
        viewer = napari.Viewer(show=False)
        viewer.add_image(np.ones((24, 16), np.float32))
        dock = DenoiseDock(viewer, FakeEngine(wait=True))
        viewer.window.add_dock_widget(dock)
        dock.panels.denoise.click()
        while "Training" not in dock.panels.train.progress.text.text():
            QApplication.processEvents()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


class Moods:
    """An engine that trains briefly or until it is stopped, and fails now and then."""

    def __init__(self, fake, chance):
        self.fake, self.chance = fake, chance

    def __call__(self, job):
        wait, fails = self.chance.random() < 0.6, self.chance.random() < 0.2
        return self.fake(error=ValueError("x") if fails else None, wait=wait)(job)


def buttons(dock):
    """Those that are pressed; files are asked for in dialogs that answer by themselves."""
    panels = dock.panels
    train, result, model, editor = panels.train, panels.result, panels.model, panels.editor
    every = (
        panels.denoise, panels.noise.analyse, panels.noise.as_layers, panels.inputs.several,
        train.stop, train.go_on, train.cancel, train.live, train.split,
        result.apply, result.preview, result.curtain, result.residual, model.save, model.load,
        editor.grow, editor.shrink, editor.undo, editor.reset, editor.whole_row,
    )  # fmt: skip
    return [button for button in every if button.isEnabled()]


def act(chance, viewer, dock, pixels):
    layers = list(viewer.layers)
    one = chance.choice(layers) if layers else None
    kind = chance.random()
    if kind < 0.7:
        button = chance.choice(buttons(dock))
        click_thrice(button) if chance.random() < 0.2 else button.click()
    elif kind < 0.8 or one is None:
        viewer.add_image(pixels(), name=f"image {chance.randint(0, 9)}")
    elif kind < 0.88:
        viewer.layers.remove(one)
    elif kind < 0.92:
        one.name = f"other {chance.randint(0, 9)}"
    elif kind < 0.96:
        viewer.layers.selection = chance.sample(layers, chance.randint(0, len(layers)))
    elif isinstance(one.data, np.ndarray):
        one.data = one.data.copy()


def check(dock):
    panels, run = dock.panels, dock.session.run
    assert panels.train.cancel.isEnabled() is (run is not None)
    assert panels.train.stop.isEnabled() is (run is not None and not run.is_ending)
    if run is not None:
        assert not panels.denoise.isEnabled()
    else:
        assert not dock.canvas.is_filling
        assert dock.canvas._live is None
    if panels.denoise.isEnabled():
        assert dock.session.images


@pytest.mark.parametrize("seed", [2])
def test_pressing_everything_in_any_order(
    make_napari_viewer, fake_engine, qtbot, tmp_path, monkeypatch, seed
):
    for ask in ("getSaveFileName", "getOpenFileName"):
        monkeypatch.setattr(QFileDialog, ask, lambda *_: (str(tmp_path / "model.asn2v"), ""))
    chance, numbers = random.Random(seed), np.random.default_rng(seed)
    viewer = make_napari_viewer()
    held = grips(viewer)
    docks = [DenoiseDock(viewer, Moods(fake_engine, chance)) for _ in range(2)]
    for dock in docks:
        viewer.window.add_dock_widget(dock)
    for _ in range(100):
        dock = chance.choice(docks)
        act(chance, viewer, dock, lambda: numbers.normal(9, 1, (16, 24)).astype(np.float32))
        qtbot.wait(chance.choice([0, 0, 20]))
        check(dock)
    for dock in docks:
        if dock.is_running:
            dock.panels.train.cancel.click()
    qtbot.waitUntil(lambda: not any(dock.is_running for dock in docks))
    qtbot.wait(100)
    for dock in docks:
        check(dock)
        viewer.window.remove_dock_widget(dock)
        with qtbot.waitSignal(dock.destroyed):
            dock.deleteLater()
    del dock
    docks.clear()
    qtbot.wait(50)
    gc.collect()
    assert ties(viewer) == []
    assert grips(viewer)[1:] == held[1:]
    assert not worker._started
